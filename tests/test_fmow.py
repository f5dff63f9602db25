"""A copy of fMoW is read as laid out, or refused with a reason."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from saccade_lib.data import fmow
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.data.fmow import Images, boxes, with_margin

NAMES = ("airport", "zoo")
INDEX = torch.tensor([3, 0, 2])


def write(folder, place, name, k, size=(60, 40), entries=None, picture=True):
    """One picture whose red is 20 k, with a box of its own, and its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    if picture:
        image = Image.new("RGB", size, (20 * k, 60, 200))
        image.save(folder / f"{place}_{k}_rgb.jpg", quality=95)
        image.save(folder / f"{place}_{k}_msrgb.jpg")
        (folder / f"{place}_{k}_msrgb.json").write_text("{}")
    box = {"ID": 7, "category": name, "box": [10, 5, 30, 20]}
    return {"gsd": 0.5, "bounding_boxes": entries or [box]}


def keep(folder, place, k, metadata):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{place}_{k}_rgb.json").write_text(json.dumps(metadata))


@pytest.fixture
def copy(tmp_path):
    """Two classes, two places each, two times each; a test set with its mapping."""
    for split in ("train", "val"):
        for name in NAMES:
            for n in range(2):
                place = f"{name}_{n}"
                folder = tmp_path / split / name / place
                for k in range(2):
                    keep(folder, place, k, write(folder, place, name, k))
    pairs = []
    for number, (name, n) in enumerate((c, n) for c in NAMES for n in range(2)):
        place, hidden = f"{name}_{n}", f"{number:07}"
        truth = tmp_path / "test_gt" / name / place
        metadata = write(tmp_path / "test" / hidden, hidden, name, 1)
        keep(truth, place, 1, metadata)
        pairs.append({"input": f"test_gt/{name}/{place}", "output": f"test/{hidden}"})
    pairs.append({"input": "seq_gt/zoo/zoo_9", "output": "seq/0000009"})
    (tmp_path / fmow.MAPPING).write_text(json.dumps(pairs))
    return tmp_path


def found_in(copy, **more):
    return fmow.fmow(copy, partial=True, quiet=True, **more)


def test_a_copy_is_read_as_it_is_laid_out(copy, capsys):
    found = fmow.fmow(copy, partial=True)
    assert "8 train, 8 validation, 4 test" in capsys.readouterr().out
    assert found.classes == NAMES and found.record()["source"] == "fmow"
    for split, entries in found.entries.items():
        for entry in entries:
            assert entry.picture.name.endswith("_rgb.jpg")
            assert entry.metadata.parent.parent.name == NAMES[entry.label]
            assert (split == "test") == entry.picture.parent.name.isdigit()
    assert str(copy) not in found.note  # records hold no path
    files = {s: {e.picture for e in of} for s, of in found.entries.items()}
    assert len(set.union(*files.values())) == 20


def test_a_test_set_in_class_folders_needs_no_mapping(copy):
    (copy / fmow.MAPPING).unlink()
    with pytest.raises(MissingData, match="names no classes. Put test_gt_mapping"):
        found_in(copy)
    folder = copy / "test" / "zoo" / "zoo_5"
    keep(folder, "zoo_5", 0, write(folder, "zoo_5", "zoo", 0))
    for path in (copy / "test").iterdir():
        if path.name.isdigit():
            path.rename(copy / f"was_{path.name}")
    assert len(found_in(copy).entries["test"]) == 1


def test_a_picture_is_brought_to_a_square_with_its_label_and_centre(copy):
    test = Images(found_in(copy), "test", side=24)
    batch = test.batch(torch.arange(5))
    assert batch["image"].shape == (5, 3, 24, 24) and len(test) == 4
    assert batch["label"].tolist() == [0, 0, 1, 1, 0]  # counted round
    expected = torch.tensor([50 / 60 - 1, 30 / 40 - 1])
    assert torch.allclose(batch["centre"][:, 0], expected.expand(5, 2))
    assert torch.allclose(batch["image"][0, 0].mean() * 255, torch.tensor(20.0), atol=3)


def test_training_is_a_function_of_seed_and_index(copy):
    pack = found_in(copy)
    train = Images(pack, "train", side=16, seed=1)
    one, again = train.batch(INDEX), train.batch(INDEX.flip(0))
    assert torch.equal(one["image"], again["image"].flip(0))
    other = Images(pack, "train", side=16, seed=2).batch(INDEX)
    assert not torch.equal(one["image"], other["image"])


def test_boxes_of_other_things_unknown_and_tiny_ones_are_left_out(copy):
    entry = found_in(copy).entries["train"][0]
    listed = [
        {"ID": -1, "category": "airport", "box": [0, 0, 9, 9]},
        {"ID": 3, "category": "false_detection", "box": [0, 0, 9, 9]},
        {"ID": 4, "category": "airport", "box": [0, 0, 2, 9]},
        {"ID": 5, "category": "airport", "box": [20, 10, 40, 30]},
    ]
    entry.metadata.write_text(json.dumps({"bounding_boxes": listed}))
    assert boxes(entry, "airport", 60, 40) == [(20, 10, 60, 40)]
    alone = {"bounding_boxes": listed[3]}  # older files hold one entry, not a list
    entry.metadata.write_text(json.dumps(alone))
    assert boxes(entry, "airport", 60, 40) == [(20, 10, 60, 40)]


def test_a_box_is_cut_out_with_its_margin(copy):
    pack = found_in(copy)
    entry = pack.entries["validation"][0]
    pixels = np.zeros((40, 60, 3), np.uint8)
    left, top, right, bottom = with_margin((10, 5, 40, 25), 60, 40)
    assert (left, top, right, bottom) == (8, 4, 42, 26)  # half the sides: 0.15
    pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(entry.picture, quality=100, subsampling=0)
    image = Images(pack, "validation", side=16, boxes=True).batch(INDEX[1:2])["image"]
    assert image.min() > 0.9


def test_margins_grow_as_boxes_shrink_and_stay_inside():
    shares = []
    for side in (500, 450, 350, 250, 150, 50):
        left, _, right, _ = with_margin((400, 0, 400 + side, 900), 1_000, 1_000)
        shares.append((right - left) / side - 1)
    assert np.allclose(shares, [0.15, 0.2, 0.3, 0.5, 1, 2], atol=0.02)
    assert with_margin((0, 0, 900, 50), 900, 60) == (0, 0, 900, 53)


def test_what_is_wrong_is_said(copy):
    with pytest.raises(ValueError, match="unknown split 'val'"):
        found_in(copy, splits=("val",))
    with pytest.raises(MissingData, match="2 classes, fMoW has 62"):
        fmow.fmow(copy)
    with pytest.raises(MissingData, match="no folder"):
        fmow.fmow(copy / "nowhere")
    with pytest.raises(ValueError, match="none of those listed: train"):
        Images(found_in(copy, splits=("train",)), "test")
    entry = found_in(copy).entries["train"][0]
    for box, message in (([40, 0, 30, 5], "outside the picture"), ([1], "a box is")):
        content = [{"ID": 1, "category": "airport", "box": box}]
        entry.metadata.write_text(json.dumps({"bounding_boxes": content}))
        with pytest.raises(CorruptData, match=message):
            boxes(entry, "airport", 60, 40)
    entry.metadata.write_text("{}")
    with pytest.raises(CorruptData, match='expected "bounding_boxes"'):
        boxes(entry, "airport", 60, 40)
    entry.metadata.unlink()
    with pytest.raises(MissingData, match="has no metadata"):
        found_in(copy)
    (copy / fmow.MAPPING).write_text('[{"input": "test_gt/zoo"}]')
    with pytest.raises(CorruptData, match="expected a list"):
        found_in(copy, splits=("test",))
