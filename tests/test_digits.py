"""Canvases are what their index says, everywhere, and hold what their label says."""

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from saccade_lib.data import digits, door
from saccade_lib.data.digits import Canvases

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import loops  # noqa: E402  (the same canvases, composed one pixel row after another)

TASKS = list(digits.DIGITS)
INDEX = torch.arange(300)


@cache
def embedded():
    """The digits that need no file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SACCADE_DATA", raising=False)
        patch.delenv("SACCADE_DOWNLOAD", raising=False)
        patch.setenv("SACCADE_CACHE", str(ROOT / "no such folder"))
        pack = door.mnist(quiet=True)
    assert pack.source == "sklearn-digits"
    return pack


def blocks(values=(60, 120, 180)):
    """Full squares for digits: their value tells train, validation and test apart."""
    train = np.full((60, 28, 28), values[0], np.uint8)
    train[50:] = values[1]
    labels = np.arange(60) % 10
    test = np.full((20, 28, 28), values[2], np.uint8)
    return door.Pack("blocks", "none", {}, "", train, labels, test, labels[:20])


def bounds(ink):
    """Left, top, right, bottom of what is not zero in ``(H, W)``, in pixels."""
    rows, columns = ink.amax(dim=1).nonzero(), ink.amax(dim=0).nonzero()
    return [int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


# ----------------------------------------------------------- a function of the index


@pytest.mark.parametrize("task", TASKS)
def test_an_image_does_not_depend_on_its_batch(task):
    stream = Canvases(embedded(), task, seed=5)
    whole = stream.batch(INDEX[:40])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    mixed, pair = stream.batch(INDEX[:40][order]), stream.batch(INDEX[7:9])
    alone = stream.batch(torch.tensor([39], dtype=torch.int32))
    for name, value in whole.items():
        assert torch.equal(mixed[name], value[order])
        assert torch.equal(pair[name], value[7:9])
        assert torch.equal(alone[name], value[39:])


def test_seeds_splits_and_indices_give_other_images():
    first = Canvases(embedded(), "sum").batch(INDEX)["image"]
    assert len({image.numpy().tobytes() for image in first}) == len(INDEX)
    other = Canvases(embedded(), "sum", seed=1).batch(INDEX)["image"]
    assert not (first == other).flatten(1).all(dim=1).any()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_seed_is_measured_on_the_same_images(split):
    one, two = (Canvases(embedded(), "sum", split, seed=s) for s in (0, 9))
    assert torch.equal(one.batch(INDEX)["image"], two.batch(INDEX)["image"])


ELSEWHERE = """
import hashlib, torch, test_digits as t
stream = t.Canvases(t.embedded(), "identification", seed=3)
batch = stream.batch(torch.arange(90, 60, -1))
print(hashlib.sha256(batch["image"].numpy().tobytes()).hexdigest())
"""


def test_another_process_makes_the_same_images():
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env=os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    stream = Canvases(embedded(), "identification", seed=3)
    image = stream.batch(torch.arange(90, 60, -1))["image"]
    here = hashlib.sha256(image.numpy().tobytes()).hexdigest()
    assert done.stdout.strip() == here


def test_the_global_generators_are_left_alone():
    before = torch.get_rng_state()
    Canvases(embedded(), "single").batch(INDEX)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------------- splits


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split, value", [("train", 60), ("validation", 120)])
def test_digits_and_clutter_of_the_splits_never_mix(task, split, value):
    image = Canvases(blocks(), task, split).batch(INDEX)["image"]
    assert set((image * 255).round().unique().tolist()) == {0, value}
    test = Canvases(blocks(), task, "test").batch(INDEX)["image"]
    assert set((test * 255).round().unique().tolist()) == {0, 180}


def test_validation_is_the_last_sixth_of_the_training_digits():
    pack = embedded()
    count = len(pack.train_images)
    train, validation = (Canvases(pack, "sum", s) for s in ("train", "validation"))
    assert len(validation.glyphs()) == count // 6
    assert len(train.glyphs()) == count - count // 6
    together = torch.cat((train.glyphs(), validation.glyphs()))
    assert np.array_equal(together.numpy(), pack.train_images)
    assert (
        validation._labels["cpu"].tolist()
        == pack.train_labels[-(count // 6) :].tolist()
    )


# ---------------------------------------------------------------------------- layout


@pytest.mark.parametrize("side, digit", [(100, 28), (84, 28), (60, 20), (200, 40)])
def test_two_digits_lie_inside_and_never_overlap(side, digit):
    stream = Canvases(blocks(), "sum", side=side, digit=digit)
    found = stream.batch(torch.arange(1500))
    ink = (found["image"] > 0).flatten(1).sum(dim=1)
    assert ink.eq(2 * digit**2).all()  # less where squares overlap or are cut off
    reach = (found["centre"].abs() + digit / side).max()
    assert reach <= 1 + 1e-6


@pytest.mark.parametrize("u", [0.0, 0.2, 0.49, 0.5, 0.51, 0.8, 1 - 2**-53])
@pytest.mark.parametrize("side", [84, 100])
def test_two_digits_are_apart_even_if_every_place_tried_is_taken(monkeypatch, u, side):
    def same(seed, stream, index, n, device="cpu"):
        return torch.full((len(index), n), u, dtype=torch.float64)

    monkeypatch.setattr(digits, "uniforms", same)
    found = Canvases(blocks(), "sum", side=side).batch(INDEX[:1])
    assert (found["image"] > 0).sum() == 2 * 28**2


@pytest.mark.parametrize("digit, side", [(28, 60), (17, 50), (40, 41)])
def test_the_centre_is_that_of_the_digit(digit, side):
    stream = Canvases(blocks(), "translated", side=side, digit=digit)
    found = stream.batch(INDEX)
    for image, centre in zip(found["image"][:, 0], found["centre"][:, 0], strict=True):
        left, top, right, bottom = bounds(image)
        assert right - left == bottom - top == digit
        middle = torch.tensor([left + right, top + bottom]) / side - 1
        torch.testing.assert_close(centre, middle, rtol=0, atol=1e-6)


def hugging(pack):
    """Largest distance in pixels from a centre to the middle of the digit's ink."""
    found = Canvases(pack, "translated", "test").batch(INDEX)
    middle = (found["centre"][:, 0] + 1) * 50  # pixels
    far = 0.0
    for image, centre in zip(found["image"][:, 0], middle, strict=True):
        left, top, right, bottom = bounds(image)
        assert max(right - left, bottom - top) <= 20  # as NIST's digits were scaled
        ink = torch.tensor([left + right, top + bottom]) / 2
        far = max(far, float((ink - centre).abs().max()))
    return far


def test_ink_lies_around_its_centre():
    assert hugging(embedded()) <= 10


def test_places_are_uniform():
    found = Canvases(embedded(), "sum").batch(torch.arange(4000))
    corner = ((found["centre"] + 1) * 50 - 14).round().long()  # (B, 2, 2), pixels
    counts = torch.bincount(corner[:, 0].flatten(), minlength=73)
    assert len(counts) == 73 and stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert corner.min() == 0 and corner.max() == 72


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("digit", [28, 21])
def test_pixels_are_the_maximum_of_digits_and_clutter(task, digit):
    stream = Canvases(embedded(), task, side=90, digit=digit, clutter=30, seed=2)
    assert torch.equal(stream.batch(INDEX[:25])["image"], loops.compose(stream, 0, 25))


def test_clutter_is_all_that_two_tasks_differ_in():
    bare = Canvases(embedded(), "identification", clutter=0).batch(INDEX)
    plain = Canvases(embedded(), "sum", clutter=50).batch(INDEX)
    for name in ("image", "digits", "centre"):
        assert torch.equal(bare[name], plain[name])
    full = Canvases(embedded(), "identification", clutter=8).batch(INDEX)
    assert full["image"].mean() > 1.2 * bare["image"].mean()


# ---------------------------------------------------------------------------- labels


def test_identification_labels_are_the_55_pairs():
    stream = Canvases(embedded(), "identification")
    table = digits.pairs()
    assert len(set(table)) == stream.classes == 55
    label = stream.label(torch.tensor(table))
    assert label.tolist() == list(range(55))
    turned = stream.label(torch.tensor([(b, a) for a, b in table]))
    assert torch.equal(turned, label)


@pytest.mark.parametrize("task", TASKS)
def test_labels_belong_to_the_digits_shown(task):
    found = Canvases(embedded(), task).batch(torch.arange(3000))
    shown = found["digits"]
    by_task = {
        "sum": lambda d: sum(d),
        "identification": lambda d: digits.pairs().index(tuple(sorted(d))),
    }
    wanted = [by_task.get(task, lambda d: d[0])(row) for row in shown.tolist()]
    assert found["label"].tolist() == wanted
    assert sorted(set(wanted)) == list(range(digits.CLASSES[task]))
    counts = torch.bincount(shown.flatten(), minlength=10)
    assert counts.min() > 0.7 * counts.float().mean()


def test_digits_shown_are_those_of_the_pack():
    pack = blocks()
    pack.train_images[:] = pack.train_labels[:, None, None] + 1  # pixels tell the label
    found = Canvases(pack, "sum").batch(INDEX)
    for image, shown in zip(found["image"], found["digits"], strict=True):
        values = (image * 255).round().unique().int().tolist()
        assert set(values) == {0} | {digit + 1 for digit in shown.tolist()}


# ------------------------------------------------------------------------------ sizes


def test_small_batches_of_the_papers_largest_images():
    true = Canvases(embedded(), "identification", side=2528, digit=28)
    found = true.batch(INDEX[:1])
    assert found["image"].shape == (1, 1, 2528, 2528)
    assert 0 < (found["image"] > 0).sum() <= 2 * 28**2 + 8 * 8**2
    enlarged = Canvases(embedded(), "identification", enlarge=2528).batch(INDEX[:1])
    small = Canvases(embedded(), "identification").batch(INDEX[:1])
    assert enlarged["image"].shape == (1, 1, 2528, 2528)
    assert torch.equal(enlarged["centre"], small["centre"])
    assert enlarged["image"].max() <= 1 and enlarged["image"].min() >= 0
    means = [float(found["image"].mean()) for found in (enlarged, small)]
    assert means[0] == pytest.approx(means[1], rel=1e-2)


def test_images_are_float_in_range():
    for task in TASKS:
        image = Canvases(embedded(), task).batch(INDEX)["image"]
        assert image.dtype == torch.float32 and image.shape == (300, 1, 100, 100)
        assert image.min() == 0 and 0.9 < image.max() <= 1


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"task": "triple"}, r"unknown task 'triple': one of identification, sum"),
        ({"split": "dev"}, r"unknown split 'dev': one of .*validation"),
        ({"side": 83}, r"side 83 is too small: 'sum' with digits of 28 .* needs 84"),
        ({"task": "single", "side": 27}, r"side 27 is too small.*needs 28"),
        ({"digit": 40}, r"side 100 is too small.*needs 120"),
    ],
)
def test_what_cannot_be_composed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Canvases(embedded(), **{"task": "sum"} | wrong)


def test_negative_indices_are_refused():
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        Canvases(embedded(), "sum").batch(torch.tensor([3, -1]))


# --------------------------------------------------------------------- random numbers


def test_the_mix_is_splitmix64():
    # Streams published with the generator's reference code and on Rosetta Code.
    streams = {
        0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
        1234567: [6457827717110365317, 3203168211198807973, 9817491932198370423],
    }
    for seed, wanted in streams.items():
        steps = seed + torch.arange(3) * (0x9E3779B97F4A7C15 - 2**64)
        assert [x % 2**64 for x in digits._mix(steps).tolist()] == wanted


def test_uniforms_are_uniform_and_columns_independent():
    n = 6
    u = digits.uniforms(0, 0, torch.arange(20_000), n).numpy()
    assert u.dtype == np.float64 and u.min() >= 0 and u.max() < 1
    for k in range(n):
        counts = np.bincount((u[:, k] * 50).astype(int), minlength=50)
        assert stats.chisquare(counts).pvalue > 1e-3
    # Pairs of columns, neighbours in time, and the low bits of one column.
    pairs = [(u[:, a], u[:, b]) for a in range(n) for b in range(a)]
    pairs += [(u[1:, k], u[:-1, k]) for k in range(n)]
    pairs += [(u[:, 0], u[:, 0] * 4096 % 1)]
    for one, two in pairs:
        cell = (one * 8).astype(int) * 8 + (two * 8).astype(int)
        assert stats.chisquare(np.bincount(cell, minlength=64)).pvalue > 1e-3


def test_streams_do_not_repeat_each_other():
    index = torch.arange(1000)
    parts = [digits.uniforms(s, t, index, 4) for s in range(3) for t in range(3)]
    together = torch.cat(parts).flatten()
    assert len(together.unique()) == len(together)


# ------------------------------------------------------------------------------ MNIST


@pytest.mark.data
def test_mnist_splits_and_centres():
    pack = door.mnist(quiet=True)
    if pack.source != "mnist":
        pytest.skip(
            "MNIST is not at hand: set SACCADE_DATA to the folder that holds it"
        )
    validation = Canvases(pack, "identification", "validation")
    assert np.array_equal(validation.glyphs().numpy(), pack.train_images[50_000:])
    assert len(Canvases(pack, "sum", "train").glyphs()) == 50_000
    # Digits are centred by their mass, so the ink's middle is a little aside.
    assert hugging(pack) <= 6
