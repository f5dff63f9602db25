"""A copy of FiveK is read as laid out, or refused with a reason; splits never mix."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from saccade_lib import pyramid
from saccade_lib.data import photos
from saccade_lib.data.files import CorruptData, MissingData

SUBJECTS = ("nature", "people", "None", "animals", "man_made", "abstract")
INDEX = torch.arange(4)
FIRST_PARTS = ["train", "train", "train", "train", "train", "test"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A tiny copy in the public layout: 36 photographs, each of one colour and size."""
    root = tmp_path_factory.mktemp("copy")
    top = root / "fivek_dataset"
    lines = []
    for k in range(36):
        name = f"a{k + 1:04}-by_{k % 5}_IMG"
        lines.append(f"{name},outdoor,day,sun_sky,{SUBJECTS[k % 6]}")
        place = root / "tiff16_c" / f"{name}.tif"
        place.parent.mkdir(exist_ok=True)
        deep = np.full((60 + 4 * (k % 3), 80, 3), (k + 1) * 6 * 256 + 77, np.uint16)
        as_vips = pyramid.reading.pyvips.Image.new_from_array(deep)
        as_vips.copy(interpretation="rgb16").tiffsave(str(place))
    (top / "raw_photos" / "HQa1to700" / "photos").mkdir(parents=True)
    (top / "categories.txt").write_text("\n".join(lines) + "\n")
    for half, number in (("Adobe", 0), ("AdobeMIT", 1)):
        listed = [line.split(",")[0] for line in lines[number::2]]
        (top / f"files{half}.txt").write_text("\n".join(listed) + "\n")
    return root


@pytest.fixture
def mine(copy, tmp_path):
    """The same, to be spoilt."""
    return shutil.copytree(copy, tmp_path / "copy")


def categories(root):
    return root / "fivek_dataset" / "categories.txt"


def test_a_copy_is_read_as_it_is_laid_out(copy, capsys):
    found = photos.fivek(copy)
    assert "36 photographs" in capsys.readouterr().out
    assert found.source == "mit-adobe-5k" and found.record()["sha256"]
    assert list(found.names) == sorted(found.names)
    for line in categories(copy).read_text().splitlines():
        name, *_, subject = line.split(",")
        k = found.names.index(name)
        assert photos.CLASSES[found.labels[k]] == subject.replace("_", "-")
        assert found.paths[k].stem == name
    assert str(copy) not in found.note  # records hold no path


def test_pictures_may_lie_elsewhere_in_other_formats(copy, tmp_path):
    for path in (copy / "tiff16_c").glob("*.tif"):
        picture = Image.new("RGB", (40, 30), (200, 10, 10))
        picture.save(tmp_path / f"{path.stem}.JPG", "JPEG")
    found = photos.fivek(copy / "fivek_dataset", images=tmp_path, quiet=True)
    assert {path.suffix for path in found.paths} == {".JPG"}


def test_the_split_depends_on_the_name_alone(copy):
    found = photos.fivek(copy, quiet=True)
    parts = [found.of(split) for split in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts)) == list(range(36))
    names = [f"a{k:04}-someone" for k in range(5_000)]
    shares = [sum(photos.part(n) == s for n in names) / 5_000 for s in photos.SPLITS]
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.02)
    # Written down once: a change would mix the splits of records made before it.
    assert [photos.part(n) for n in names[:6]] == FIRST_PARTS


def test_what_is_wrong_is_said(copy, mine, tmp_path):
    with pytest.raises(MissingData, match="no folder .*nowhere"):
        photos.fivek(tmp_path / "nowhere")
    gone = next((mine / "tiff16_c").glob("a0007*"))
    gone.unlink()
    with pytest.raises(MissingData, match=r"no picture for 1 \(a0007.* of the 36"):
        photos.fivek(mine, quiet=True)
    assert len(photos.fivek(mine, partial=True, quiet=True).names) == 35
    Image.new("RGB", (9, 9)).save(mine / "tiff16_c" / "holiday.png")
    with pytest.raises(CorruptData, match=r"1 \(holiday\) not in categories.txt"):
        photos.fivek(mine, partial=True, quiet=True)
    (mine / "tiff16_c" / "holiday.png").unlink()
    other = mine / "tiff16_a"
    other.mkdir()
    shutil.copy(next((mine / "tiff16_c").glob("a0001*")), other)
    with pytest.raises(CorruptData, match="two pictures of a0001.*one expert"):
        photos.fivek(mine, partial=True, quiet=True)
    assert photos.fivek(mine, mine / "tiff16_c", partial=True, quiet=True)
    categories(mine).unlink()
    with pytest.raises(MissingData, match="no categories.txt in .*NAME,location"):
        photos.fivek(mine, quiet=True)


@pytest.mark.parametrize(
    "line, message",
    [
        ("a0001-x,outdoor,day,nature", "line 37: 4 fields"),
        ("a0001-x,outdoor,day,sun_sky,cars", "line 37: subject 'cars' is none of abs"),
    ],
)
def test_a_line_that_is_none_is_named(mine, line, message):
    with categories(mine).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CorruptData, match=message):
        photos.fivek(mine, quiet=True)


def test_one_class_and_raw_files_alone_are_refused(mine):
    everything = categories(mine).read_text()
    for subject in SUBJECTS:
        everything = everything.replace(f",{subject}\n", ",nature\n")
    categories(mine).write_text(everything)
    with pytest.raises(CorruptData, match="all 36 pictures are 'nature'"):
        photos.fivek(mine, quiet=True)
    raw = mine / "fivek_dataset" / "raw_photos" / "HQa1to700" / "photos"
    (raw / "a0001-by_0_IMG.dng").touch()
    with pytest.raises(MissingData, match="1 raw .dng files are there, export"):
        photos.fivek(mine, images=raw.parent, quiet=True)


@pytest.fixture(scope="module")
def pack(copy):
    return photos.fivek(copy, quiet=True)


@pytest.mark.parametrize("split", photos.SPLITS)
def test_a_batch_shows_the_photograph_of_its_label(pack, split):
    """Each has one grey: proxy, windows and the whole photograph show it."""
    stream = photos.Photographs(pack, split, proxy=8)
    n = len(stream)
    batch = stream.batch(torch.arange(n))
    members = pack.of(split)[stream.numbers(torch.arange(n)).numpy()]
    grey = torch.tensor([6 * (k + 1) / 255 for k in members.tolist()])
    assert sorted(members) == sorted(pack.of(split))
    assert torch.equal(batch["label"], torch.from_numpy(pack.labels[members]))
    assert batch["proxy"].shape == (n, 3, 8, 8) and batch["image"] is batch["proxy"]
    assert torch.allclose(batch["proxy"][:, 1, 3, 3], grey, atol=1e-3)
    location = torch.zeros(n, 2, 2, requires_grad=True)
    crops = batch["crop"](location, torch.full((n, 2), 0.25), 6)
    assert crops.shape == (n, 2, 3, 6, 6) and crops.requires_grad
    assert torch.allclose(crops[:, 1, 2, 5, 5], grey, atol=1e-3)
    whole = photos.Photographs(pack, split, whole=16).batch(torch.arange(n))
    assert whole["image"].shape == (n, 3, 16, 16) and "crop" not in whole
    assert torch.allclose(whole["image"][:, 0, 7, 7], grey, atol=1e-3)


def test_training_is_shuffled_by_the_seed_and_every_photograph_comes_once(pack):
    stream, n = photos.Photographs(pack, "train"), len(pack.of("train"))
    first, second = (stream.numbers(torch.arange(n) + n * k).tolist() for k in (0, 1))
    assert sorted(first) == sorted(second) == list(range(n)) and first != second
    other = photos.Photographs(pack, "train", seed=1)
    assert other.numbers(torch.arange(n)).tolist() != first
    again = torch.tensor([n + 3, 2])
    assert stream.numbers(again).tolist() == [second[3], first[2]]


def test_soft_windows_fade_to_grey(pack):
    location, scale = torch.zeros(4, 1, 2), torch.full((4, 1), 0.5)
    hard, soft = (
        photos.Photographs(pack, "train", soft=soft).batch(INDEX)["crop"](
            location, scale, 9
        )
        for soft in (False, True)
    )
    assert torch.allclose(soft[..., 4, 4], hard[..., 4, 4], atol=1e-6)
    assert ((soft - 0.5).abs() <= (hard - 0.5).abs() + 1e-6).all()


def test_a_split_without_photographs_is_refused(pack):
    few = photos.FiveK(
        pack.source, "", {}, "", pack.names[:1], pack.labels[:1], pack.paths[:1]
    )
    empty = next(s for s in photos.SPLITS if s != photos.part(pack.names[0]))
    with pytest.raises(ValueError, match="none of 1 photographs is of split"):
        photos.Photographs(few, empty)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        photos.Photographs(pack, "dev")


def test_converted_photographs_show_the_same(pack, tmp_path):
    made = photos.convert(pack, tmp_path / "pyramids")
    before = [path.stat().st_mtime_ns for path in made.paths]
    again = photos.convert(pack, tmp_path / "pyramids")  # all are there already
    assert before == [path.stat().st_mtime_ns for path in again.paths]
    old, new = (
        photos.Photographs(p, "test", proxy=8).batch(INDEX) for p in (pack, made)
    )
    assert torch.allclose(old["proxy"], new["proxy"], atol=0.02)
