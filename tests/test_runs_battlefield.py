"""Rows that count marines: models, measures, a reader's own frames."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from saccade_lib import glimpse
from saccade_lib.data import frames, sprites
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.models import baselines, counting
from saccade_lib.models.counting import Config, Counting, shown_before
from saccade_lib.models.variational_saccading import Places
from saccade_lib.runs.experiment import train
from saccade_lib.runs.on_battlefield import (
    Bare,
    OnBattlefield,
    appearances,
    erase,
    look_over,
    slopes,
    summary,
    vars_of,
)
from saccade_lib.runs.variational_saccading import battlefield_data
from saccade_lib.train import Schedule

TINY = OnBattlefield(
    side=64,
    most=2,
    sprite=9,
    proxy=16,
    model=Config(
        classes=3,
        channels=3,
        proxy=16,
        glimpses=3,
        size=12,
        scale=(0.3, 0.3),
        features=8,
        hidden=8,
        sigma=0.05,
        sigma_max=0.1,
    ),
    schedule=Schedule(steps=4, batch=8, validate_every=2),
    samples=60,
    validation=40,
    test=50,
)


# ------------------------------------------------------------------------------ models


def test_pixels_shown_before_are_those_of_earlier_windows():
    location = torch.tensor([[[0.0, 0.0], [0.3, 0.0], [0.0, 0.0]]])
    scale = torch.full((1, 3), 0.3)
    seen = shown_before(location, scale, 12)[0]  # (T, L, L)
    assert not seen[0].any() and seen[2].all()
    assert torch.equal(seen[1].any(dim=0), torch.arange(12) < 6)  # the left half
    assert seen[1, :, :6].all()
    # By another way: cut the windows out of a picture of what was seen so far.
    torch.manual_seed(0)
    location = (torch.rand(5, 4, 2) * 2 - 1) * 0.6
    scale = torch.full((5, 4), 0.4)
    made = shown_before(location, scale, 16)
    fine = glimpse.pixel_centres(400)
    for b in range(5):
        painted = torch.zeros(1, 1, 400, 400)
        for t in range(4):
            cut = glimpse.crop(painted, location[b, None, t, None], scale[:1, :1], 16)
            assert ((cut[0, 0, 0] > 0.5) == made[b, t]).float().mean() > 0.98
            x, y = ((fine - c).abs() < 0.4 for c in location[b, t])
            painted[0, 0] = painted[0, 0].maximum((y[:, None] & x).float())


def test_counting_once_leaves_out_what_was_shown():
    torch.manual_seed(0)
    plain = Counting(TINY.model).eval()
    once = Counting(replace(TINY.model, once=True)).eval()
    once.load_state_dict(plain.state_dict())
    x = torch.zeros(1, 3, 16, 16)
    scale = torch.full((1, 2), 0.5)
    crops = torch.rand(1, 2, 3, 12, 12)
    answers = {}
    for name, net in (("plain", plain), ("once", once)):
        net._crop = lambda location, scale, size: crops
        for what, second in (("same", 0.0), ("apart", 1.0)):
            location = torch.tensor([[[-0.5, 0.0], [second - 0.5, 0.0]]])
            with torch.no_grad():
                answers[name, what], _ = net.look(x, Places(location, scale))
    assert torch.equal(answers["plain", "same"], answers["plain", "apart"])
    assert torch.allclose(answers["once", "apart"], answers["plain", "apart"])
    assert not torch.allclose(answers["once", "same"], answers["plain", "same"])
    crops[:, 1] = 0.0  # what is left out may be anything
    with torch.no_grad():
        location = torch.full((1, 2, 2), -0.5)
        again, _ = once.look(x, Places(location, scale))
    assert torch.allclose(again, answers["once", "same"], atol=1e-6)


def test_there_is_no_residual_counting():
    with pytest.raises(ValueError, match="no counting encoder 'residual'"):
        Counting(replace(TINY.model, encoder="residual"))


def test_an_average_counts_where_a_maximum_does_not():
    torch.manual_seed(0)
    net = counting.CountNet(3, 8).eval()
    one, two = torch.zeros(2, 1, 3, 64, 64).unbind(0)
    one[..., 12:18, 12:18] = two[..., 12:18, 12:18] = 1.0
    two[..., 40:46, 40:46] = 1.0  # the same thing once more
    empty = net.net(torch.zeros(1, 3, 64, 64)).mean(dim=(2, 3))
    first, both = (net.net(o).mean(dim=(2, 3)) - empty for o in (one, two))
    assert torch.allclose(both, 2 * first, atol=1e-5)


def test_the_pointer_starts_on_the_dots():
    config = replace(TINY.model, glimpses=2, proxy=32)
    torch.manual_seed(0)
    net = Counting(config).train()
    proxy = torch.full((8, 3, 32, 32), 0.1)
    proxy[:, 1, 6:8, 6:8] = 1.0  # top left
    net.saccade(proxy, sample=False)
    for module in net.modules():  # the statistics of these very proxies
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.saccade(proxy, sample=False)
        places = net.eval().saccade(proxy, sample=False)
    assert (places.location < -0.15).all()


# ----------------------------------------------------------------------------- measures


def test_every_scene_is_looked_over_once():
    class Knows(torch.nn.Module):
        """Right but on scenes with two marines."""

        def predict(self, images, batch=None):
            guess = batch["label"].clamp(max=1)
            one_hot = torch.nn.functional.one_hot(guess, 3).float()
            return baselines.Prediction(one_hot)

    canvases = TINY.canvases(sprites.plain(), "test", 0)
    found = look_over(Knows(), canvases.scenes, 50)
    assert torch.equal(found["label"], canvases.scenes.labels(torch.arange(50)))
    metrics = summary(found, canvases.draw(torch.arange(3_000)))
    assert metrics["balanced_accuracy"] == pytest.approx(200 / 3)
    raw = 100 * float((found["label"] < 2).double().mean())
    assert metrics["raw_accuracy"] == pytest.approx(raw)
    # A resampled set estimates the mean over the classes, within its standard error.
    assert abs(metrics["accuracy"] - 200 / 3) < 5 * 100 * (2 / 9 / 3_000) ** 0.5
    assert metrics["count_error"] == pytest.approx(1 - metrics["accuracy"] / 100)


def test_slopes_find_what_was_put_in():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 6, (5_000,), generator=generator)
    missed = (torch.rand(5_000, generator=generator) * (label + 1)).long()
    twice = (torch.rand(5_000, generator=generator) * (label - missed + 1)).long()
    noise = 0.3 * torch.randn(5_000, generator=generator)
    # Towards the middle with the label: must not be taken for double counting.
    change = 0.4 * twice - 0.7 * missed - 0.5 * (label - 2.5) + noise
    found = {"label": label, "twice": twice, "missed": missed}
    for name, true in (("twice", 0.4), ("missed", -0.7)):
        slope, error = slopes(found, change)[name]
        assert 0 < error < 0.02 and abs(slope - true) < 5 * error
    found["missed"] = torch.zeros_like(label)
    assert set(slopes(found, change)) == {"twice"}


def test_appearances_tell_repetitions_from_last_looks():
    """Two windows on one marine, a third on another; by hand."""
    location = torch.tensor([[[0.0, 0.0], [0.2, 0.0], [-0.6, -0.6]]])
    scale = torch.full((1, 3), 0.3)
    centre = torch.tensor([[[0.1, 0.05], [-0.7, -0.6], [0.9, 0.9]]])
    black = torch.zeros(1, 3, 12, 12, dtype=torch.bool)
    assert appearances(location, scale, centre, black).tolist() == [[2, 1, 0]]
    seen = shown_before(location, scale, 12)
    assert appearances(location, scale, centre, seen).tolist() == [[1, 1, 0]]
    black[:, 2, :, :6] = True  # the left half of the third
    assert appearances(location, scale, centre, black).tolist() == [[2, 0, 0]]


def test_erasing_what_was_shown_leaves_every_marine_in_one_window():
    torch.manual_seed(0)
    model = Counting(replace(TINY.model, places="oracle", scale=(0.5, 0.5))).eval()
    scenes = TINY.canvases(sprites.plain(), "test", 0).scenes
    found = erase(model, scenes, 50, shown_before)
    assert found["gone"].sum() <= 1  # a centre just at the border of a point
    assert found["again"].sum() > 0 and (found["change"] != 0).any()
    nothing = erase(model, scenes, 50, lambda *w: shown_before(*w) & False)
    assert (nothing["change"] == 0).all() and nothing["again"].sum() == 0
    blank = erase(model, scenes, 50, lambda *w: shown_before(*w) | True, "black")
    assert blank["gone"].sum() > 0 and (blank["gone"] <= blank["label"]).all()


def test_bare_ground_is_the_scene_without_its_units():
    scenes = TINY.canvases(sprites.plain(), "test", 0).scenes
    bare = Bare(**vars_of(scenes)).batch(torch.arange(20))
    full = scenes.batch(torch.arange(20))
    window = torch.zeros(20, 1, 2), torch.ones(20, 1)
    ground, crop = (b["crop"](*window, 64)[:, 0] for b in (bare, full))
    changed = (ground != crop).any(dim=1).flatten(1).any(dim=1)  # (B,)
    assert torch.equal(changed, (full["kind"] >= 0).any(dim=1))
    blue = ground[:, 2] > ground[:, 1]  # grass is green; units wear blue
    assert not blue.any()


@pytest.mark.parametrize(
    "model",
    [
        TINY.model,
        replace(TINY.model, places="oracle", once=True),
        baselines.Config(3, channels=3, width=4, hidden=8),
        baselines.ProxyConfig(3, channels=3, proxy=16, width=4, features=8),
    ],
    ids=["saccading", "oracle-once", "resnet18", "proxy"],
)
def test_a_row_trains_and_is_measured(model):
    outcome = train(replace(TINY, model=model), 0, progress=False)
    metrics = outcome.metrics
    assert metrics["test_accuracy"]["unit"] == "%"
    assert metrics["test_count_error"]["unit"] == "marines"
    looks = isinstance(model, Config)
    assert ("test_hit_rate" in metrics) == looks
    if looks and model.places == "oracle":
        assert metrics["test_hit_rate"]["value"] == 100
    assert outcome.pack.source == "battlefield-plain"
    again = train(replace(TINY, model=model), 0, progress=False)
    assert again.metrics == metrics


def test_the_data_are_measured_as_the_paper_describes_its_own(tmp_path):
    config = replace(battlefield_data.WHOLE, scenes=3_000, batch=2, rounds=1)
    found = battlefield_data.measure(config, 0, torch.device("cpu"), tmp_path)
    values = {name: entry["value"] for name, entry in found.metrics.items()}
    assert values.pop("zero_share") > 50
    assert values == {
        "scenes": 3_000,
        "image_side": 1024,
        "minimap_side": 64,
        "kinds": 3,
        "most_of_a_kind": 22,
    }
    assert sum(found.curves["scenes"]) == 3_000
    assert found.costs["scenes_per_second"]["value"] > 0


# ------------------------------------------------------------------- a reader's frames


@pytest.fixture
def folder(tmp_path):
    """Twenty frames of 40 x 40, their minimaps, and one count too high."""
    from PIL import Image

    counts = {f"{k:02}.png": k % 3 for k in range(20)} | {"many.png": 23}
    for kind, side in (("frames", 40), ("minimaps", 20)):
        (tmp_path / kind).mkdir()
        for k, name in enumerate(counts):
            pixels = np.full((side, side, 3), 10 * k, np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / name)
    lines = ["name,marines"] + [f"{name},{n}" for name, n in counts.items()]
    (tmp_path / "counts.csv").write_text("\n".join(lines))
    return tmp_path


def test_frames_are_split_in_order_and_read(folder):
    form = dict(side=32, proxy=16, most=2)
    parts = {
        s: frames.Frames(folder, s, **form) for s in ("train", "validation", "test")
    }
    assert [len(part) for part in parts.values()] == [14, 2, 4]
    batch = parts["test"].batch(torch.tensor([0, 3]))
    assert batch["image"].shape == (2, 3, 32, 32) and batch["proxy"].shape[-1] == 16
    assert batch["label"].tolist() == [16 % 3, 19 % 3]
    assert torch.allclose(batch["image"][0], torch.tensor(160 / 255))
    windows = frames.Frames(folder, "test", windows=True, **form).batch(
        torch.tensor([0])
    )
    assert windows["image"].shape[-1] == 16
    crop = windows["crop"](torch.zeros(1, 1, 2), torch.full((1, 1), 0.5), 8)
    assert torch.allclose(crop, torch.tensor(160 / 255))


@pytest.mark.parametrize("table", ["csv", "json"])
def test_a_reader_trains_on_frames(folder, table):
    if table == "json":
        rows = frames.read_counts(folder)
        (folder / "counts.csv").unlink()
        (folder / "counts.json").write_text(json.dumps(rows))
    run = replace(TINY, frames=str(folder), side=32)
    outcome = train(run, 0, progress=False)
    assert outcome.pack.source == "own-frames"
    assert list(outcome.pack.sha256) == [f"counts.{table}"]
    assert "test_accuracy" in outcome.metrics and "test_hit_rate" not in outcome.metrics


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (lambda f: (f / "counts.csv").unlink(), MissingData, "has no table of counts"),
        (
            lambda f: (f / "minimaps" / "07.png").unlink(),
            MissingData,
            r"minimaps lacks '07.png' \(1 of 21 named in counts.csv\)",
        ),
        (
            lambda f: (f / "counts.csv").write_text("name,marines\n00.png,two"),
            CorruptData,
            "'00.png' has the count 'two', not a whole number",
        ),
        (
            lambda f: (f / "counts.csv").write_text("name,marines\n00.png"),
            CorruptData,
            "'00.png' has the count ''",
        ),
        (
            lambda f: (f / "counts.csv").write_text("name,marines\n0.png,1\n0.png,1"),
            CorruptData,
            "'0.png' stands twice",
        ),
        (
            lambda f: (f / "counts.csv").write_text("frame,count\n0.png,1"),
            CorruptData,
            "has no column 'name'",
        ),
    ],
)
def test_frames_that_cannot_be_read_are_named(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=message):
        frames.Frames(folder, "test")


def test_a_picture_that_is_none_is_named(folder):
    (folder / "frames" / "19.png").write_bytes(b"no picture")
    own = frames.Frames(folder, "test", most=2)
    with pytest.raises(CorruptData, match="19.png is no readable picture"):
        own.batch(torch.tensor([3]))
    (folder / "counts.csv").write_text("name,marines\n01.png,1\n")
    with pytest.raises(MissingData, match="leave none for train; 10 or more do"):
        frames.Frames(folder)
    with pytest.raises(MissingData, match="is not a folder"):
        frames.Frames(folder / "nowhere")
