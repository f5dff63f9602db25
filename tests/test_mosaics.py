"""Mosaics: a small view cannot tell the object from its decoys; splits never mix."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from saccade_lib.data import mosaics, satellite
from saccade_lib.data.files import CorruptData
from saccade_lib.data.mosaics import coarse
from saccade_lib.data.satellite import CLASSES, GROUND, Pictures, Scenes

INDEX = torch.tensor([5, 0, 12, 7])
Mosaics = partial(mosaics.Mosaics, tiles=4, decoys=2, coarse=4)


@pytest.fixture(scope="module")
def pictures():
    """Stripes across for classes, each at its own frequency, and plain greens."""

    def of(split):
        draw = np.random.default_rng(satellite.SPLITS.index(split))
        line = np.arange(80)
        made = {}
        for k, name in enumerate(CLASSES):
            wave = 128 + 100 * np.sin(line * (0.3 + 0.4 * k))
            noise = draw.normal(0, 20, (5, 80, 80, 3))
            made[name] = list((wave[:, None] + noise).clip(0, 255).astype(np.uint8))
        for k, name in enumerate(GROUND):
            noise = draw.normal(60 + 20 * k, 5, (4 + k, 80, 80, 3))
            made[name] = list(noise.clip(0, 255).astype(np.uint8))
        return made

    return Pictures("made-up", "embedded", {}, "made up", CLASSES, GROUND, of)


@pytest.fixture
def stream(pictures):
    return Mosaics(pictures, side=64, seed=3)


def tiles_of(image, n):
    """``(B, n * n, 3, L, L)``."""
    size = image.shape[-1] // n
    cut = image.unfold(2, size, size).unfold(3, size, size)  # (B, 3, n, n, L, L)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


def test_a_mosaic_is_a_function_of_seed_split_and_index(pictures, stream):
    one, again = stream.batch(INDEX), stream.batch(INDEX.flip(0))
    alone = stream.batch(INDEX[2:3])
    for name, value in one.items():
        assert torch.equal(value, again[name].flip(0))
        assert torch.equal(value[2:3], alone[name])
    other = Mosaics(pictures, side=64, seed=4).batch(INDEX)
    assert not torch.equal(one["image"], other["image"])
    held_out = [
        Mosaics(pictures, "test", side=64, seed=seed).batch(INDEX)["image"]
        for seed in (0, 4)
    ]
    assert torch.equal(*held_out)


def test_shapes_and_ranges(stream):
    batch = stream.batch(INDEX)
    assert batch["image"].shape == (4, 3, 64, 64) and batch["label"].shape == (4,)
    assert batch["centre"].shape == (4, 1, 2) and batch["odd"].shape == (4, 3, 2)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert torch.equal(batch["odd"][:, :1], batch["centre"])


def test_exactly_the_decoys_are_coarse_and_the_object_stands_at_its_centre(stream):
    """Recounted from the pixels alone."""
    batch = stream.batch(torch.arange(40))
    tiles = tiles_of(batch["image"], 4)
    blocks = F.max_pool2d(tiles.flatten(0, 1), 4) + F.max_pool2d(
        -tiles.flatten(0, 1), 4
    )
    is_coarse = (blocks == 0).all(dim=3).all(dim=2).all(dim=1).view(40, 16)
    at = ((batch["odd"] + 1) * 2).long()  # column and row
    number = at[..., 1] * 4 + at[..., 0]  # (B, 3), the object's first
    assert torch.equal(
        is_coarse.nonzero()[:, 1].view(40, 2), number[:, 1:].sort().values
    )
    # Of all tiles that are not coarse, the object alone has stripes.
    contrast = tiles.std(dim=(2, 3, 4)).masked_fill(is_coarse, 0)
    assert torch.equal(contrast.argmax(dim=1), number[:, 0])


def test_a_shrunk_view_is_the_same_with_and_without_the_detail(pictures, monkeypatch):
    """So that nothing in it says which of three tiles is the object."""
    small = Mosaics(pictures, side=64, read="small")
    as_it_is = small.batch(INDEX)["image"]
    monkeypatch.setattr(mosaics, "coarse", lambda tile, f: tile.float())
    all_sharp = small.batch(INDEX)["image"]
    assert torch.allclose(as_it_is, all_sharp, atol=0.51 / 255)  # 8 bits


def test_coarse_blocks_are_what_is_read(stream):
    tile = torch.rand(2, 3, 16, 16)
    made = coarse(tile, 4)
    read = F.interpolate(made, (4, 4), mode="bilinear")
    assert torch.equal(read, F.interpolate(tile, (4, 4), mode="bilinear"))
    assert torch.equal(made[..., ::4, ::4], made[..., 3::4, 3::4])


def test_labels_and_places_are_even_and_decoys_of_other_classes(stream):
    layout = stream.layout(torch.arange(4_000))
    counts = layout.kind[:, 0].bincount(minlength=4)
    assert (counts / 1_000 - 1).abs().max() < 0.12
    places = layout.place[:, 0].bincount(minlength=16)
    assert (places / 250 - 1).abs().max() < 0.3
    assert all(len(set(k)) == 3 == len(set(p)) for k, p in zip(
        layout.kind.tolist(), layout.place.tolist(), strict=True
    ))  # fmt: skip


def test_what_is_read(pictures):
    whole = Mosaics(pictures, "test", side=64).batch(INDEX)
    for read, side in (("half", 32), ("small", 16)):
        some = Mosaics(pictures, "test", side=64, read=read).batch(INDEX)["image"]
        expected = F.interpolate(whole["image"], (side, side), mode="bilinear")
        assert torch.equal(some, expected)
    alone = Mosaics(pictures, "test", side=64, read="object").batch(INDEX)
    at = ((whole["centre"][:, 0] + 1) * 2).long()
    tiles = tiles_of(whole["image"], 4)[torch.arange(4), at[:, 1] * 4 + at[:, 0]]
    assert torch.equal(alone["image"], tiles)
    assert torch.equal(alone["label"], whole["label"])


def test_hits_are_within_half_a_tile(stream):
    batch = stream.batch(INDEX)
    near = batch["centre"] + torch.tensor([0.24, -0.24])
    far = batch["centre"] + torch.tensor([0.26, 0.0])
    assert stream.hits(near, batch).all() and not stream.hits(far, batch).any()
    assert stream.hits(torch.cat((far, near), dim=1), batch).all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"split": "val"}, "unknown split 'val'"),
        ({"seed": -1}, "seed must not be negative"),
        ({"side": 60}, "side must be a multiple of tiles x coarse"),
        ({"decoys": 4}, "0 to 3 of them"),
        ({"read": "third"}, "read must be one of whole, half"),
    ],
)
def test_bad_settings_are_refused(pictures, wrong, message):
    with pytest.raises(ValueError, match=message):
        Mosaics(pictures, **{"side": 64} | wrong)


def pack_of(top):
    """A tiny pack in the real layout; each picture has a colour of its own."""
    colour = 0
    for split, count in (("train", 10), ("val", 3)):
        for name in (*CLASSES, *GROUND):
            folder = top / "satellite" / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                colour += 1
                rgb = (colour % 16 * 16, colour // 16 * 16, 40)
                Image.new("RGB", (40, 40), rgb).save(folder / f"{name[0]}{k:03}.jpg")
    return top / "satellite"


def test_splits_of_the_pack_are_disjoint_and_whole(tmp_path):
    top = pack_of(tmp_path)
    read = {split: satellite._read(top, split) for split in satellite.SPLITS}
    counts = {s: {len(v) for v in of.values()} for s, of in read.items()}
    assert counts == {"train": {8}, "validation": {2}, "test": {3}}
    seen = [a.tobytes() for of in read.values() for some in of.values() for a in some]
    assert len(set(seen)) == len(seen) == 7 * 13
    with pytest.raises(CorruptData, match=r"grass: no pictures for test"):
        for path in (top / "val" / "grass").iterdir():
            path.unlink()
        satellite._read(top, "test")


def test_the_stand_in_is_announced_and_has_four_classes(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    found = satellite.find()
    assert "stand-in" in capsys.readouterr().out
    assert len(found.classes) == 4 and found.record()["source"] == "embedded-mosaics"
    batch = Mosaics(found, "test", side=64).batch(INDEX)
    assert batch["image"].shape == (4, 3, 64, 64)
    with pytest.raises(satellite.door.MissingData, match="satellite-rsscn7-420"):
        satellite.find(folder=tmp_path)


def test_scenes_are_whole_pictures_and_every_test_window_once(pictures):
    test = Scenes(pictures, "test", side=16)
    every = test.batch(torch.arange(7 * 4 * 4))
    assert every["image"].shape == (112, 3, 16, 16)
    assert every["label"].bincount().tolist() == [16] * 7
    assert len({image.numpy().tobytes() for image in every["image"]}) == 112
    train = Scenes(pictures, side=16, seed=1)
    one, again = train.batch(INDEX), train.batch(INDEX.flip(0))
    assert torch.equal(one["image"], again["image"].flip(0))
