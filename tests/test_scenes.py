"""Scenes are what their index says; boxes hold the birds; splits never mix."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from saccade_lib.data import birds, door, satellite, scenes, species
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.runs.experiment import train
from saccade_lib.runs.learning_to_zoom import classes
from saccade_lib.train import Schedule

SPLITS = ("train", "validation", "test")
NAMES = ("Red_Wren", "Blue_Wren", "Common_Yellowthroat", "Some_Warbler")
INDEX = torch.arange(40)


def flat(values):
    """Pictures of one grey each: the value tells where a pixel came from."""
    return [np.full((96, 96, 3), v, np.uint8) for v in values]


@pytest.fixture(scope="module")
def parts():
    """Birds are 200 to 211, ground 10 to 12, distractors 100 to 102, by split."""

    def crops(split, side):
        k = SPLITS.index(split)
        images = np.zeros((8, 3, side, side), np.uint8) + (200 + 4 * k)
        labels = np.arange(8) % 4
        images += labels[:, None, None, None].astype(np.uint8)
        none = np.zeros((8, 0))
        return birds.Split(images, labels, labels, labels, none, none)

    def of(split):
        k = SPLITS.index(split)
        return {"road": flat([100 + k]), "wood": flat([10 + k])}

    flock = birds.Birds("b", "none", {}, "", NAMES, (), (), np.zeros((4, 0)), crops)
    ground = satellite.Pictures("g", "none", {}, "", ("road",), ("wood",), of)
    return scenes.Parts("s", "none", {}, "", flock, ground)


def small(parts, split="train", **more):
    return scenes.Scenes(parts, split, **{"side": 96, "bird": 24} | more)


def test_a_scene_does_not_depend_on_its_batch(parts):
    stream = small(parts, seed=3)
    whole = stream.batch(INDEX)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    mixed, alone = stream.batch(INDEX[order]), stream.batch(torch.tensor([39]))
    for name, value in whole.items():
        assert torch.equal(mixed[name], value[order])
        assert torch.equal(alone[name], value[39:])
    other = small(parts, seed=4).batch(INDEX)["image"]
    assert not torch.equal(other, whole["image"])


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_in_the_box_is_a_bird_of_the_split_and_the_label(parts, split):
    stream, k = small(parts, split, seed=5), SPLITS.index(split)
    batch = stream.batch(INDEX)
    corner = ((batch["box"] + 1) / 2 * 96).round().long()
    for b, (x0, y0, x1, y1) in enumerate(corner.tolist()):
        image = (255 * batch["image"][b]).round().long()
        value = int(image[0, (y0 + y1) // 2, (x0 + x1) // 2]) - 200 - 4 * k
        assert 0 <= value < 4  # a bird of this split
        assert int(batch["label"][b]) == (1 if value < 2 else 0)  # Warbler, Wren
        rest = image[0].clone()
        rest[y0:y1, x0:x1] = 0
        assert int(rest.max()) <= 100 + k  # no bird outside its box
        assert x1 - x0 == y1 - y0 and x1 - x0 in (19, 22, 24)
    assert len(set(map(tuple, corner.tolist()))) > 30


def test_held_out_scenes_are_the_same_for_every_seed(parts):
    one, two = (small(parts, "test", seed=s).batch(INDEX)["image"] for s in (0, 7))
    assert torch.equal(one, two)


def test_families_are_last_words():
    names, of = scenes.families(NAMES)
    assert names == ("Warbler", "Wren") and of.tolist() == [1, 1, 0, 0]
    drawn = tuple(f"{k}_x" for k in range(12))
    names, of = scenes.families(drawn)
    assert names == drawn[:9] and of.tolist() == [*range(9), -1, -1, -1]


def test_hits_are_places_inside_the_box(parts):
    stream = small(parts)
    batch = stream.batch(INDEX)
    assert stream.hits(batch["centre"], batch).all()
    away = torch.where(batch["centre"] > 0, -1.0, 1.0)
    assert not stream.hits(away, batch).any()


@pytest.mark.parametrize(
    "wrong", [{"split": "dev"}, {"seed": -1}, {"bird": 40}, {"distractors": 4}]
)
def test_bad_scenes_are_refused(parts, wrong):
    with pytest.raises(ValueError, match="split|seed|bird|distractors"):
        small(parts, **wrong)


def test_a_ground_that_is_too_small_is_named(parts):
    with pytest.raises(ValueError, match="smaller than the scene"):
        small(parts, side=120).batch(INDEX[:1])


def test_stand_ins_need_no_pack(monkeypatch, tmp_path, capsys):
    for name in ("SACCADE_DATA", "SACCADE_CUB", "SACCADE_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "none"))
    found = scenes.find()
    assert found.origin == "embedded" and "make data" in capsys.readouterr().out
    batch = scenes.Scenes(found, "validation").batch(torch.arange(2))
    assert batch["image"].shape == (2, 3, 256, 256)


def test_digits_have_boxes():
    pack = door.Pack(
        *("blocks", "none", {}, ""),
        *(np.full((12, 28, 28), 9, np.uint8), np.arange(12) % 10) * 2,
    )
    stream = scenes.BoxedDigits(pack, "single", side=64, clutter=0)
    batch = stream.batch(INDEX)
    for image, box in zip(batch["image"], batch["box"], strict=True):
        rows, columns = image[0].amax(1).nonzero(), image[0].amax(0).nonzero()
        ends = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert torch.allclose(torch.cat(ends) * 2 / 64 - 1, box)


# ----------------------------------------------------------- whole pictures of species


@pytest.fixture
def copy(tmp_path):
    """iNaturalist's layout: six training and two validation pictures of two species."""
    for name, count in (("train2017", 40), ("val2017", 2)):
        tables = {"images": [], "annotations": []}
        tables["categories"] = [{"id": 7, "name": "B"}, {"id": 3, "name": "A"}]
        for k in range(count):
            file = f"train_val_images/Aves/{'AB'[k % 2]}/{name}-{k}.png"
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = np.zeros((20, 40, 3), np.uint8)
            picture[5:15, 10:20] = 255  # the box: left quarter to the middle
            Image.fromarray(picture).save(path)
            tables["images"].append({"id": k, "file_name": file})
            category = {"image_id": k, "category_id": (3, 7)[k % 2]}
            tables["annotations"].append(category | {"bbox": [10, 5, 10, 10]})
        (tmp_path / f"{name}.json").write_text(json.dumps(tables))
    return tmp_path


def test_inaturalist_is_read_from_its_lists(copy):
    found = species.inaturalist(copy)
    assert found.source == "inaturalist-2017" and found.names == ("A", "B")
    assert {k: len(v) for k, v in found.of.items()} == {
        "train": 38,
        "validation": 2,
        "test": 2,
    }
    paths = [e.path for entries in found.of.values() for e in entries]
    assert len(set(paths)) == 42
    for entries in found.of.values():
        assert all(found.names[e.label] == e.path.parent.name for e in entries)


def test_boxes_follow_squares_mirrors_and_cuts(copy):
    found = species.inaturalist(copy)
    batch = species.Pictures(found, "train", side=80, tested=60).batch(torch.arange(12))
    assert batch["image"].shape == (12, 3, 80, 80)
    lefts = set()
    for image, box in zip(batch["image"], batch["box"], strict=True):
        x0, y0, x1, y1 = ((box + 1) * 40).round().long().tolist()
        assert image[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].min() > 0.9
        assert image.sum() < 1.3 * 3 * (y1 - y0) * (x1 - x0)
        lefts.add(x0)
    assert lefts == {20, 40}  # as it is, and mirrored
    test = species.Pictures(found, "test", side=80, tested=60)
    batch = test.batch(torch.arange(2))
    assert batch["image"].shape == (2, 3, 60, 60) and batch["label"].tolist() == [0, 1]
    found = ((batch["box"][0] + 1) * 30).tolist()
    assert found == pytest.approx([10, 10, 30, 50], abs=1e-4)


def test_what_is_not_whole_is_named(copy):
    with pytest.raises(MissingData, match="train2017.json"):
        species.inaturalist(copy / "train_val_images")
    path = copy / "val2017.json"
    tables = json.loads(path.read_text())
    tables["annotations"][0]["image_id"] = 99
    path.write_text(json.dumps(tables))
    with pytest.raises(CorruptData, match="val2017.json"):
        species.inaturalist(copy)
    with pytest.raises(ValueError, match="tested"):
        species.Pictures(None, side=10, tested=11)


def test_a_row_reads_such_a_folder_or_says_which_variable_is_not_set(copy, monkeypatch):
    row = classes.ROWS["sampler-scenes"]["paper"]
    monkeypatch.delenv("SACCADE_INATURALIST", raising=False)
    with pytest.raises(door.MissingData, match="SACCADE_INATURALIST"):
        row.find(quiet=True)
    monkeypatch.setenv("SACCADE_INATURALIST", str(copy))
    with pytest.raises(ValueError, match="2 classes, but this row has 5089"):
        row.canvases(row.find(quiet=True), "train", 0)
    model = replace(
        row.model, classes=2, size=(16, 16), task="blocks", layers=6, look_width=4
    )
    short = Schedule(steps=2, batch=2, validate_every=2)
    small = replace(row, model=model, schedule=short, side=40, tested=32)
    found = train(replace(small, validation=2, test=2), 0, progress=False)
    assert found.pack.source == "inaturalist-2017"
    assert found.metrics["test_accuracy"]["value"] in (0, 50, 100)
    # Its boxes are known, so what is read of them is measured.
    assert found.metrics["test_pixels_on_object"]["value"] > 0
