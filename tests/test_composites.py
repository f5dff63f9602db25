"""Composites: what is read by windows is what the composed canvas shows."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.data import composite_parts, composites
from saccade_lib.data.composites import Composites, turned
from saccade_lib.data.door import MissingData
from saccade_lib.data.files import CorruptData

INDEX = torch.tensor([5, 0, 12, 7])
SIDE = 1280


def embedded():
    """Parts that need no file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SACCADE_DATA", raising=False)
        patch.setenv("SACCADE_CACHE", "no such folder")
        parts = composite_parts.find(quiet=True)
    assert parts.source == "embedded-composites"
    return parts


PARTS = embedded()
CANVASES = Composites(PARTS, side=SIDE, proxy=16)


def windows_of(B, T, scale, seed=0):
    draw = torch.Generator().manual_seed(seed)
    location = (torch.rand(B, T, 2, generator=draw) * 2 - 1) * (1 - scale)
    return location, torch.full((B, T), scale)


def test_the_stand_in_is_announced_and_has_six_classes(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    parts = composite_parts.find()
    assert "stand-in" in capsys.readouterr().out
    assert len(parts.classes) == 6 and parts.classes[-1] == "nothing"
    assert parts.record()["source"] == "embedded-composites"
    with pytest.raises(MissingData, match="natural-caltech25 was not found"):
        composite_parts.find(folder=tmp_path)


def test_sources_of_the_splits_are_disjoint():
    for of in (PARTS.tiles, PARTS.objects):
        seen = {}
        for split, levels in of.items():
            flat = levels[1].reshape(-1, *levels[1].shape[-3:])
            seen[split] = {picture.tobytes() for picture in flat}
        assert not seen["train"] & seen["validation"]
        assert not (seen["train"] | seen["validation"]) & seen["test"]


def test_shares_are_taken_in_turn_and_held_out_files_apart(tmp_path):
    kinds = [[tmp_path / f"{kind}{k:02}" for k in range(20)] for kind in "ab"]
    train = composite_parts._share(kinds, 10, "train")
    held_out = composite_parts._share(kinds, 8, "validation")
    assert [p.name[0] for p in train[:4]] == ["a", "b", "a", "b"]
    assert not set(train) & set(held_out) and len(set(held_out)) == 8
    assert len(composite_parts._share(kinds, 40, "test")) == 40
    with pytest.raises(CorruptData, match="32 pictures for train, 33 are needed"):
        composite_parts._share(kinds, 33, "train")


def test_pictures_have_one_mean_and_one_contrast():
    """What a proxy could tell classes apart by, to within clipping."""
    for of in PARTS.objects["train"][1]:
        values = of.astype(np.float32)
        assert np.abs(values.mean(axis=(2, 3)) - composite_parts.GREY).max() < 6
        assert np.abs(values.std(axis=(1, 2, 3)) - 46).max() < 5


def test_levels_are_means():
    for f in composite_parts.LEVELS[1:]:
        full = torch.from_numpy(PARTS.tiles["test"][1]).float()
        means = F.avg_pool2d(full, f).numpy()
        assert np.abs(means - PARTS.tiles["test"][f]).max() <= 1.5  # rounded twice


def test_a_canvas_is_a_function_of_seed_split_and_index():
    one = CANVASES.batch(INDEX)
    again = CANVASES.batch(INDEX.flip(0))
    for name in ("proxy", "label", "centre"):
        assert torch.equal(one[name], again[name].flip(0))
    for other in (
        Composites(PARTS, side=SIDE, proxy=16, seed=1),
        Composites(PARTS, "validation", side=SIDE, proxy=16),
    ):
        assert not torch.equal(one["centre"], other.batch(INDEX)["centre"])
    held_out = [
        Composites(PARTS, "test", side=SIDE, proxy=16, seed=seed).batch(INDEX)
        for seed in (0, 4)
    ]
    assert torch.equal(held_out[0]["proxy"], held_out[1]["proxy"])


def test_labels_are_even_and_say_what_the_sharp_patch_shows():
    layout = CANVASES.layout(torch.arange(6_000))
    counts = np.bincount(layout.label, minlength=6)
    assert np.abs(counts / 1_000 - 1).max() < 0.12
    something = layout.label < 5
    assert (layout.kinds[something, 0] == layout.label[something]).all()
    assert all(len(set(kinds)) == 3 for kinds in layout.kinds[:500])
    # Where nothing is sharp, every class is as likely for each patch.
    of_nothing = np.bincount(layout.kinds[~something].flatten(), minlength=5)
    assert np.abs(of_nothing / of_nothing.mean() - 1).max() < 0.12


def test_patches_lie_inside_on_the_grid_and_apart():
    corner = CANVASES.layout(torch.arange(3_000)).corner
    assert corner.min() >= 0 and corner.max() <= SIDE - composite_parts.PATCH
    assert (corner % 32 == 0).all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = np.abs(corner[:, a] - corner[:, b]).max(axis=1)
        assert apart.min() >= composite_parts.PATCH
    assert len(np.unique(corner[:, 0, 0])) > 15  # all over the canvas


def test_only_the_object_is_sharp():
    """Detail, as the difference to a level 8 times as coarse, under each patch."""
    layout, n = CANVASES.layout(torch.arange(40)), composite_parts.PATCH
    for b in range(40):
        detail = []
        for k in range(3):
            x, y = layout.corner[b, k] + n // 4
            fine = CANVASES.pixels(layout, 1, b, x, y, n // 2, n // 2)
            coarse = F.avg_pool2d(fine, 8).repeat_interleave(8, 1)
            detail.append(float((fine - coarse.repeat_interleave(8, 2)).std()))
        assert max(detail[1:]) < 0.03
        assert (detail[0] > 0.03) == (layout.label[b] < 5) or layout.label[b] == 4


def test_a_region_is_a_part_of_the_composed_canvas():
    whole = CANVASES.image(3)
    assert whole.shape == (3, SIDE, SIDE) and 0 <= whole.min() < whole.max() <= 1
    for left, top, w, h in ((0, 0, 40, 40), (370, 380, 99, 7), (1279, 1000, 1, 280)):
        part = CANVASES.region(3, left, top, w, h)
        assert torch.equal(part, whole[:, top : top + h, left : left + w])


@pytest.mark.parametrize("f", [2, 8, 32])
def test_a_level_is_nearly_the_mean_of_the_canvas(f):
    whole = F.avg_pool2d(CANVASES.image(3), f)
    level = CANVASES.image(3, f)
    assert (whole - level).abs().mean() < 0.004
    assert (whole - level).abs().max() < 0.1  # in the soft edge of a sharp patch


@pytest.mark.parametrize("scale, size, f", [(0.1, 100, 1), (0.3, 32, 8), (1.0, 20, 32)])
def test_a_window_is_the_crop_of_its_level(scale, size, f):
    assert CANVASES.level(scale, size) == f
    location, scale = windows_of(len(INDEX), 2, scale)
    found = []
    level = torch.stack([CANVASES.image(int(k), f) for k in INDEX]).double()
    cut = CANVASES.batch(INDEX)["crop"]
    for read in (lambda *w: glimpse.crop(level, *w), cut):
        place = location.clone().double().requires_grad_()
        crops = read(place, scale.double(), size)
        (crops * torch.linspace(0, 1, size)).sum().backward()
        found.append((crops.detach().float(), place.grad))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    slope = found[0][1].abs().max()
    assert slope > 1 and (found[0][1] - found[1][1]).abs().max() < 1e-3 * slope


def test_the_proxy_is_nearly_that_of_the_composed_canvas():
    batch = CANVASES.batch(INDEX)
    assert batch["image"] is batch["proxy"]
    whole = torch.stack([CANVASES.image(int(k)) for k in INDEX])
    assert (glimpse.downsample(whole, 16) - batch["proxy"]).abs().max() < 0.05


def test_whole_canvases_are_a_level():
    batch = Composites(PARTS, side=SIDE, whole=SIDE // 8).batch(INDEX)
    assert torch.equal(batch["image"][1], CANVASES.image(0, 8))
    assert "crop" not in batch


def test_a_hit_is_a_window_within_a_quarter_of_the_patch():
    batch = CANVASES.batch(torch.arange(60))
    something = batch["label"] < 5
    near = torch.tensor([0.099, -0.099])  # 64 of 1280 pixels are 0.1
    for shift, wanted in ((near, True), (near * 1.03, False)):
        at = batch["centre"][:, :1] + shift
        hit = CANVASES.hits(at, batch)
        assert len(hit) == something.sum() and bool(hit.all()) is wanted
    assert not CANVASES.hits(batch["centre"][:, 1:], batch).any()  # distractors


def test_a_tile_lies_in_eight_ways():
    tile = np.arange(27).reshape(3, 3, 3)
    assert len({turned(tile, turn).tobytes() for turn in range(8)}) == 8


@pytest.mark.parametrize(
    "change, message",
    [
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"side": 1000}, "multiple of 32, at least 1280: 1000"),
        ({"side": 640}, "at least 1280"),
        ({"seed": -1}, "seed must not be negative"),
        ({"whole": 100}, "whole must be 0 or one of .1280, 640"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Composites(**{"parts": PARTS, "side": SIDE} | change)


def test_directions_are_even_on_the_sphere():
    u = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)).numpy()
    d = composites.directions(u)
    assert np.allclose((d**2).sum(axis=1), 1)
    assert np.abs(d.mean(axis=0)).max() < 0.03
    assert np.abs((d**2).mean(axis=0) - 1 / 3).max() < 0.02
