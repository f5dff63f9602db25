"""Battlefields are what their index says, and hold what their label says."""

import math
import subprocess

import numpy as np
import pytest
import torch
from scipy import stats

from saccade_lib import glimpse
from saccade_lib.data import battlefield, door, sprites
from saccade_lib.data.balanced import Balanced
from saccade_lib.data.battlefield import Scenes, Windows, windows_on
from saccade_lib.data.files import CorruptData, MissingData

SMALL = dict(side=128, most=5, sprite=12, proxy=32)
INDEX = torch.arange(60)


@pytest.fixture(scope="module")
def art():
    return sprites.plain()


@pytest.fixture(scope="module")
def whole(art):
    return Scenes(art, **SMALL).batch(INDEX)


def tensors(batch):
    return {name: v for name, v in batch.items() if isinstance(v, torch.Tensor)}


# ----------------------------------------------------------- a function of the index


@pytest.mark.parametrize("kind", [Scenes, Windows])
def test_a_scene_does_not_depend_on_its_batch(art, kind):
    stream = kind(art, seed=3, **SMALL)
    many = tensors(stream.batch(INDEX))
    order = torch.tensor([41, 3, 59])
    for name, values in tensors(stream.batch(order)).items():
        assert torch.equal(values, many[name][order]), name
    again = kind(sprites.plain(), seed=3, **SMALL)
    assert torch.equal(again.batch(INDEX)["image"], many["image"])
    assert torch.equal(stream.labels(order), many["label"][order])


def test_splits_and_seeds_differ_and_held_out_ones_have_no_seed(art):
    labels = {
        (split, seed): Scenes(art, split, seed=seed, **SMALL).layout(INDEX).cells
        for split in ("train", "validation", "test")
        for seed in (0, 1)
    }
    for split in ("validation", "test"):
        assert torch.equal(labels[split, 0], labels[split, 1])
    told = {tuple(cells.flatten().tolist()) for cells in labels.values()}
    assert len(told) == 4


def test_the_label_is_what_an_independent_look_counts(art, whole):
    """Pale visors are the marines' alone: counted as patches of connected pixels."""
    from scipy import ndimage

    for image, label in zip(whole["image"], whole["label"], strict=True):
        pale = (image.amin(dim=0) > 0.75).numpy()
        bodies = ndimage.label(ndimage.binary_dilation(pale))[1]
        assert bodies == int(label)


def test_every_kind_is_at_most_so_many_and_marines_come_first(art, whole):
    counts = Scenes(art, **SMALL).counts(INDEX)
    kind = whole["kind"]
    for k in range(3):
        assert torch.equal((kind == k).sum(dim=1), counts[:, k])
    assert int(counts.max()) <= 5 and torch.equal(counts[:, 0], whole["label"])
    order = torch.where(kind < 0, 3, kind)
    assert (order.diff(dim=1) >= 0).all()


def test_units_do_not_overlap_and_stay_inside(whole):
    centre = (whole["centre"] + 1) / 2 * 128  # (B, U, 2), pixels
    assert float(centre.min()) >= 6 and float(centre.max()) <= 122
    apart = (centre[:, :, None] - centre[:, None]).abs().amax(dim=3)
    off = ~torch.eye(centre.shape[1], dtype=torch.bool)
    assert float(apart[:, off].min()) >= 12


def test_more_than_half_of_the_scenes_have_no_marine(art):
    scenes = Scenes(art)
    labels = scenes.labels(torch.arange(50_000))
    count = labels.bincount(minlength=23)
    assert count[0] / len(labels) > 0.5 and len(count) == scenes.classes == 23
    shares = scenes.shares().numpy()
    assert math.isclose(shares.sum(), 1)
    assert stats.chisquare(count.numpy(), shares * len(labels)).pvalue > 1e-4


def test_other_units_say_nothing_about_the_marines(art):
    counts = Scenes(art, **SMALL).counts(torch.arange(50_000)).double()
    assert torch.corrcoef(counts.T)[0, 1:].abs().max() < 0.02


# ------------------------------------------------------------------- windows, minimap


@pytest.mark.parametrize("scale, size", [(0.25, 24), (0.1, 64), (0.6, 16)])
def test_a_window_is_the_crop_of_the_whole_scene(art, whole, scale, size):
    torch.manual_seed(0)
    location = (torch.rand(60, 4, 2) * 2 - 1) * (1 - scale)
    location[0, 0] = 1 - scale  # at the border
    scales = torch.full((60, 4), scale)
    read = Windows(art, **SMALL).batch(INDEX)
    made = glimpse.crop(whole["image"], location, scales, size)
    assert torch.allclose(read["crop"](location, scales, size), made, atol=1e-5)
    assert torch.equal(read["image"], whole["proxy"])


def test_the_slope_of_a_window_is_that_of_the_crop(art, whole):
    read = Windows(art, **SMALL).batch(INDEX[:2])["crop"]
    gradients = []
    for cut in (read, lambda *w: glimpse.crop(whole["image"][:2], *w)):
        location = torch.tensor([[[0.11, -0.2]], [[0.3, 0.31]]], requires_grad=True)
        scale = torch.full((2, 1), 0.3, requires_grad=True)
        weight = torch.linspace(-1, 1, 16)
        (cut(location, scale, 16) * weight).sum().backward()
        gradients.append(torch.cat((location.grad.flatten(), scale.grad.flatten())))
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-3)


def test_two_kinds_look_alike_on_the_minimap(art, whole):
    """Every unit has its dot; marines and marauders share a colour, tanks have none."""
    J = 32
    for b in range(len(INDEX)):
        for centre, kind in zip(whole["centre"][b], whole["kind"][b], strict=True):
            x, y = ((centre + 1) / 2 * J).floor().long().clamp(0, J - 1).tolist()
            seen = tuple(round(float(v), 2) for v in whole["proxy"][b, :, y, x])
            soldiers, tanks = battlefield.COLOURS[1:]
            if kind >= 0:
                assert seen == (tanks if kind == 2 else soldiers)
            else:
                assert max(seen) < 0.3 or seen in (soldiers, tanks)  # a neighbour's


def test_images_are_pictures(whole):
    for name in ("image", "proxy"):
        assert float(whole[name].min()) >= 0 and float(whole[name].max()) <= 1
    assert whole["image"].shape == (60, 3, 128, 128)
    assert whole["proxy"].shape == (60, 3, 32, 32)


def test_windows_on_counts_windows():
    location = torch.tensor([[[0.0, 0.0], [0.2, 0.0]]])
    centre = torch.tensor([[[0.1, 0.0], [-0.2, 0.2], [0.9, 0.9], [0.5, -0.3]]])
    scale = torch.full((1, 2), 0.3)
    assert windows_on(location, scale, centre).tolist() == [[2, 1, 0, 1]]


# ------------------------------------------------------------------- the balanced draw


def test_every_count_is_drawn_equally_often_and_with_replacement(art):
    balanced = Balanced(Scenes(art, "test", **SMALL), samples=400)
    draws = balanced.draw(torch.arange(12_000))
    assert draws.max() < 400 and torch.equal(draws[5:9], balanced.draw(INDEX[5:9]))
    labels = balanced.scenes.labels(draws)
    assert stats.chisquare(labels.bincount().numpy()).pvalue > 1e-4
    weights = 1 / balanced.scenes.labels(torch.arange(400)).bincount().double()
    expected = weights[balanced.scenes.labels(torch.arange(400))]
    expected = (expected / expected.sum() * 12_000).numpy()
    assert (
        stats.chisquare(draws.bincount(minlength=400).numpy(), expected).pvalue > 1e-4
    )
    batch = balanced.batch(torch.arange(4))
    assert torch.equal(batch["label"], labels[:4])


def test_a_count_that_no_scene_has_is_never_drawn(art):
    balanced = Balanced(Scenes(art, **SMALL), samples=8)
    present = set(balanced.scenes.labels(torch.arange(8)).tolist())
    drawn = balanced.scenes.labels(balanced.draw(torch.arange(500)))
    assert set(drawn.tolist()) == present and len(present) < 6


@pytest.mark.parametrize(
    "words, message",
    [
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"most": 0}, "must be 1 or more"),
        ({"side": 60}, "side 60 has 9 cells .* need 30"),
    ],
)
def test_a_battlefield_that_cannot_be_is_refused(art, words, message):
    with pytest.raises(ValueError, match=message):
        Scenes(art, **SMALL | words)
    with pytest.raises(ValueError, match="samples must be 1 or more, got 0"):
        Balanced(Scenes(art, **SMALL), samples=0)


# --------------------------------------------------------------------------------- art


@pytest.mark.parametrize("size", [12, 32])
def test_sprites_are_pictures_that_turn(art, size):
    drawn = art.draw(size)  # (3, 8, s, s, 4)
    assert drawn.shape == (3, 8, size, size, 4)
    assert float(drawn.min()) >= 0 and float(drawn.max()) <= 1
    assert (drawn[..., :3] <= drawn[..., 3:] + 1e-6).all()  # colour times opacity
    quarter = drawn[:, 0].rot90(-1, (1, 2))  # clockwise
    assert torch.allclose(quarter, drawn[:, 2], atol=1e-5)
    assert len({d.numpy().tobytes() for d in drawn.flatten(0, 1)}) == 24


def test_without_bos_wars_the_plain_art_is_found_and_said(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    assert sprites.find().source == "battlefield-plain"
    assert "make battlefield-art" in capsys.readouterr().out
    assert sprites.find(quiet=True) and not capsys.readouterr().out
    with pytest.raises(ValueError, match="4 pixels or more"):
        sprites.draw_plain(2)


def palette_sheet(path, shape, transparent):
    """A picture like those of Bos Wars: one grey rectangle a frame, a team's dot."""
    from PIL import Image

    pixels = np.full(shape, transparent, np.uint8)
    for x in range(0, shape[1], 64):
        pixels[20:40, x + 24 : x + 40] = 7
        pixels[24:28, x + 26 : x + 29] = 208
    image = Image.fromarray(pixels, "P")
    image.putpalette([v for k in range(256) for v in (k, k, k)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, transparency=transparent)


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """A package in the cache that is laid out like the real one."""
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    folder = tmp_path / sprites.PACKAGE / sprites.INSIDE
    for name, frame, columns, _ in sprites.SHEETS.values():
        palette_sheet(folder / name, (128, frame * columns), 255 if columns == 5 else 0)
    palette_sheet(folder / sprites.GROUND, (64, 128), 255)
    return folder


def test_sheets_are_read_mirrored_and_given_a_team(unpacked):
    art = sprites.find(quiet=True)
    assert art.source == "battlefield-boswars" and sprites.SHA256 in art.sha256.values()
    drawn = art.draw(32)
    assert drawn.shape == (3, 8, 32, 32, 4)
    assert torch.equal(drawn[0, 3], drawn[0, 5].flip(1))  # SE and SW
    blue = torch.tensor(sprites.BLUE[0]) / 255
    assert (drawn[0, 0, :, :, :3] - blue).abs().amax(dim=2).min() < 1e-6
    assert 0 < float(drawn[..., 3].mean()) < 1
    image = Scenes(art, **SMALL).batch(INDEX[:3])["image"]
    assert float(image.min()) >= 0 and float(image.max()) <= 1
    assert torch.equal(art.ground[0], art.ground[-1])  # mirrored: no seam


def test_a_damaged_sheet_is_named(unpacked):
    (unpacked / sprites.GROUND).write_bytes(b"no picture")
    with pytest.raises(CorruptData, match="make battlefield-art` again"):
        sprites.find(quiet=True)


def test_fetching_needs_apt_and_the_right_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))

    def absent(command, **words):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(MissingData, match="apt-get is not on this machine.* plain"):
        sprites.fetch()

    def fails(command, **words):
        raise subprocess.CalledProcessError(100, command, stderr="E: no such package\n")

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(MissingData, match="E: no such package"):
        sprites.fetch()
    assert sprites.main() == 2 and "apt-get update" in capsys.readouterr().err

    def another(command, cwd, **words):
        (door.Path(cwd) / "boswars-data_9_all.deb").write_bytes(b"other")

    monkeypatch.setattr(subprocess, "run", another)
    with pytest.raises(CorruptData, match="wrong SHA-256"):
        sprites.fetch()
    assert not (tmp_path / sprites.PACKAGE).exists()
