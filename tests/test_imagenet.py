"""Photographs in ImageNet's folders: found, split, augmented from (seed, index)."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from saccade_lib.data import augmentation, imagenet
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.data.imagenet import Photographs

INDEX = torch.arange(12)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in ("SACCADE_DATA", imagenet.FOLDER, imagenet.WORKERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Three classes of different sizes in torchvision's layout; colour tells a file."""
    root = tmp_path_factory.mktemp("ilsvrc")
    for c, (name, count) in enumerate({"n01": 16, "n02": 30, "n03": 9}.items()):
        for half, n in (("train", count), ("val", 3)):
            (root / half / name).mkdir(parents=True)
            for k in range(n):
                colour = (60 * c + 20, 5 * k, 255 if half == "val" else 0)
                size = (40 + 7 * (k % 3), 30)
                picture = Image.new("RGB", size, colour)
                picture.save(root / half / name / f"{name}_{k:04}.PNG")
    return root


@cache
def embedded():
    return imagenet.embedded()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


# ------------------------------------------------------------------------------ found


def test_a_copy_is_found_by_the_variable_and_named_by_its_counts(
    copy, monkeypatch, capsys
):
    monkeypatch.setenv(imagenet.FOLDER, str(copy))
    found = imagenet.find()
    said = capsys.readouterr().out
    assert "3 classes, 55 + 9 photographs" in said and "image-folder" in said
    assert found.source == "image-folder"  # it is no ILSVRC2012
    assert found.classes == ("n01", "n02", "n03")
    assert str(copy) not in said + str(found.record())
    monkeypatch.setattr(imagenet, "ILSVRC", (3, 55, 9))
    assert imagenet.find(quiet=True).source == "imagenet"


def test_splits_do_not_mix_and_val_is_the_test(copy):
    found = imagenet.folder(copy, quiet=True)
    parts = {split: {p for p, _ in of} for split, of in found.pictures.items()}
    assert {p.parent.parent.name for p in parts["test"]} == {"val"}
    assert not parts["train"] & parts["validation"]
    assert len(parts["train"] | parts["validation"]) == 16 + 30 + 9
    held_out = [sum(c == k for _, c in found.pictures["validation"]) for k in range(3)]
    assert held_out == [16 // 8, 30 // 8, 9 // 8]
    for split, of in found.pictures.items():
        for path, label in of:
            assert path.parent.name == found.classes[label], split


def test_at_most_ten_of_a_class_are_held_out():
    halves = {"train": [(None, 0)] * 1300, "val": []}
    found = imagenet._labelled("", "", {}, "", ("one",), halves)
    assert len(found.pictures["validation"]) == 10


def test_without_data_there_are_25_classes_all_the_same(capsys):
    found = imagenet.find()
    assert "stand-in" in capsys.readouterr().out
    assert found.source == "embedded-pieces" and len(found.classes) == 25
    batch = Photographs(found, "test", side=32).batch(torch.arange(100))
    assert batch["label"].bincount().tolist() == [4] * 25


def test_what_is_wrong_with_a_folder_is_said(copy, tmp_path, monkeypatch):
    with pytest.raises(MissingData, match=f"set {imagenet.FOLDER} to a folder"):
        imagenet.find(own=True)
    with pytest.raises(MissingData, match="no folder of pictures for each class"):
        imagenet.folder(tmp_path)
    for half, name in (("train", "a"), ("val", "b")):
        (tmp_path / half / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / half / name / "x.png")
    with pytest.raises(CorruptData, match=r"differ in 2 classes \(a, b"):
        imagenet.folder(tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_bytes((copy / "val/n01/n01_0000.PNG").read_bytes()[:60])
    with pytest.raises(CorruptData, match="broken.png is not a whole picture"):
        augmentation.read(broken)
    with pytest.raises(ValueError, match="unknown split 'val'"):
        Photographs(embedded(), "val")
    with pytest.raises(ValueError, match="a picture of 300 pixels on 224"):
        Photographs(embedded(), picture=300)


# ------------------------------------------------------- a function of (seed, index)


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_image_does_not_depend_on_its_batch(split):
    stream = Photographs(embedded(), split, side=48, picture=32, seed=3)
    before = torch.get_rng_state()
    whole = stream.batch(INDEX)
    assert torch.equal(torch.get_rng_state(), before)
    order = torch.randperm(len(INDEX), generator=torch.Generator().manual_seed(0))
    mixed, alone = stream.batch(order), stream.batch(torch.tensor([7]))
    for name, value in whole.items():
        assert torch.equal(mixed[name], value[order])
        assert torch.equal(alone[name][0], value[7])


def test_seeds_tell_training_apart_and_leave_the_test_alone():
    train = [
        Photographs(embedded(), "train", 32, 20, seed=s).batch(INDEX) for s in (0, 1)
    ]
    test = [
        Photographs(embedded(), "test", 32, 20, seed=s).batch(INDEX) for s in (0, 1)
    ]
    assert not same(*train) and same(*test)


def test_a_pass_has_every_picture_once_and_each_pass_its_own_order():
    stream = Photographs(embedded(), side=16)
    n = len(stream)
    one, two = (stream.numbers(torch.arange(k * n, (k + 1) * n)) for k in (0, 1))
    assert sorted(one) == sorted(two) == list(range(n)) and one != two


def test_processes_that_read_change_nothing(monkeypatch):
    stream = Photographs(embedded(), side=32)
    alone = stream.batch(INDEX[:4])
    monkeypatch.setenv(imagenet.WORKERS, "1")
    imagenet._pool.cache_clear()
    try:
        assert same(stream.batch(INDEX[:4]), alone)
        imagenet._pool().shutdown()
    finally:
        imagenet._pool.cache_clear()


# ----------------------------------------------------------------------- the pictures


def test_evaluation_is_a_plain_resize(copy):
    found = imagenet.folder(copy, quiet=True)
    batch = Photographs(found, "test", side=20).batch(torch.arange(9))
    assert batch["image"].shape == (9, 3, 20, 20)
    for (path, label), image in zip(
        found.pictures["test"], batch["image"], strict=True
    ):
        red = torch.from_numpy(np.array(Image.open(path)))[0, 0] / 255
        assert torch.allclose(image, red[:, None, None].expand_as(image), atol=1e-6)
        assert found.classes[label] == path.parent.name
    ramp = torch.rand(3, 9, 13)
    wanted = torch.nn.functional.interpolate(ramp[None], (6, 6), mode="bilinear")[0]
    assert torch.allclose(augmentation.plain(ramp, 6), wanted, atol=1e-6)


def test_a_picture_lies_where_its_centre_says_with_grey_around():
    stream = Photographs(embedded(), "test", side=60, picture=24)
    batch = stream.batch(torch.arange(40))
    for image, centre in zip(batch["image"], batch["centre"][:, 0], strict=True):
        x, y = ((centre + 1) * 30 - 12).round().long().tolist()
        around = image.clone()
        around[:, y : y + 24, x : x + 24] = imagenet.GREY
        assert (around == imagenet.GREY).all()
        assert image[:, y : y + 24, x : x + 24].std() > 0
    assert stream.hits(batch["centre"], batch).all()
    away = torch.where(batch["centre"] > 0, -1.0, 1.0)
    assert not stream.hits(away, batch).any()
    places = batch["centre"].flatten().numpy()
    assert (
        abs(places).max() <= 0.6
        and stats.kstest(places, stats.uniform(-0.6, 1.2).cdf).pvalue > 0.001
    )


def test_augmentation_cuts_mirrors_and_colours_as_the_paper_says(monkeypatch):
    seen = []
    v2 = augmentation._transforms()
    real = v2.RandomResizedCrop.transform

    def watched(self, x, part):
        height, width = part["height"], part["width"]
        seen.append((height * width / (60 * 90), width / height, self.interpolation))
        assert self.antialias is False and list(self.size) == [32, 32]
        return real(self, x, part)

    monkeypatch.setattr(v2.RandomResizedCrop, "transform", watched)
    ramp = torch.linspace(0.2, 0.6, 90).expand(3, 60, 90)  # grows to the right
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [augmentation.augmentation(32)(ramp.clone()) for _ in range(300)]
    area, aspect, how = zip(*seen, strict=True)
    assert min(area) > 0.83 and max(area) <= 1  # whole pixels
    assert min(aspect) >= 0.5 and max(aspect) <= 2
    assert len(set(how)) == 3
    assert all(x.min() >= 0 and x.max() <= 1 for x in made)
    mirrored = sum(float(x[..., :16].mean()) > float(x[..., 16:].mean()) for x in made)
    assert 110 < mirrored < 190
    grey = sum(bool((x[0] - x[1]).abs().max() < 1e-6) for x in made)
    assert grey > 40  # one branch in five leaves colours alone; grey has no hue anyway
