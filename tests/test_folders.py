"""A reader's folder is read as laid out, or refused with all that is wrong at once."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image

from saccade_lib import pyramid
from saccade_lib.data import folders, headers, made_images
from saccade_lib.data.folders import BadFolder, scan


def picture(path, size=(64, 48), kind="RGB", seed=0, **options):
    """A file of noise in the format that its ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,), "CMYK": (4,)}[kind]
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    Image.fromarray(pixels, kind).save(path, **options)
    return pixels


def simple(root, count=12, classes=("cats", "dogs")):
    """A good folder: ``count`` images a class, each of its own noise."""
    for label, name in enumerate(classes):
        for k in range(count):
            picture(root / name / f"{name}-{k:02}.png", seed=100 * label + k)
    return root


def parts(folder):
    return {p.path.name: p.split for p in folder.pictures}


def problems(root, **options):
    with pytest.raises(BadFolder) as caught:
        scan(root, **options)
    assert str(root) in str(caught.value)
    return caught.value.problems


# ---------------------------------------------------------------- good folders


def test_every_image_is_in_one_part_and_no_class_lacks(tmp_path):
    folder = scan(simple(tmp_path, 20))
    assert folder.classes == ("cats", "dogs")
    assert len(folder.pictures) == 40 == len(set(parts(folder)))
    for split, each in (("train", 12), ("validation", 4), ("test", 4)):
        assert folder.count(split) == {"cats": each, "dogs": each}
        for p in folder.of(split):
            assert p.path.parent.name == folder.classes[p.label]
    assert "40 images of 2 classes" in str(folder)


def test_the_split_is_of_the_seed_and_names_alone(tmp_path):
    here = parts(scan(simple(tmp_path / "here", 20)))
    there = shutil.copytree(tmp_path / "here", tmp_path / "there")
    for path in sorted(there.rglob("*.png"), reverse=True):
        os.utime(path, (1, 1))
    assert parts(scan(there)) == here
    assert parts(scan(there, seed=1)) != here


def test_crops_of_one_slide_stay_together(tmp_path):
    for k in range(60):  # ten slides, each with crops of both classes
        picture(tmp_path / "ab"[k % 2] / f"slide{k // 6}_{k}.png", seed=k)
    folder = scan(tmp_path)
    assert any("10 groups" in note for note in folder.notes)
    slides = {}
    for p in folder.pictures:
        slides.setdefault(p.path.stem.partition("_")[0], set()).add(p.split)
    assert len(slides) == 10 and all(len(of) == 1 for of in slides.values())
    apart = scan(tmp_path, group=None)
    assert {p.group for p in apart.pictures} > {"a/slide0_0.png"}


def test_too_few_groups_are_not_taken_for_slides(tmp_path):
    for k in range(24):
        picture(tmp_path / "ab"[k % 2] / f"IMG_{k:04}.png", seed=k)
    folder = scan(tmp_path)
    assert all(folder.count(split)["a"] for split in ("train", "validation", "test"))
    assert any("each image is a group" in note for note in folder.notes)
    assert any("of too few groups" in text for text in problems(tmp_path, group="_"))


def test_a_split_of_the_reader_is_kept_and_completed(tmp_path):
    simple(tmp_path / "train", 10)
    simple(tmp_path / "val", 2)
    for k, path in enumerate(sorted((tmp_path / "val").rglob("*.png"))):
        picture(path, seed=900 + k)
    folder = scan(tmp_path)
    for p in folder.pictures:
        inside_val = "val" in p.path.relative_to(tmp_path).parts
        assert (p.split == "validation") == inside_val
    assert folder.count("test") == {"cats": 2, "dogs": 2}


def test_equal_images_are_never_torn_apart(tmp_path):
    simple(tmp_path, 20)
    for k in range(6):
        shutil.copy(tmp_path / "cats/cats-00.png", tmp_path / f"cats/twin{k}.png")
    of = parts(scan(tmp_path))
    same = {of[name] for name in of if name.startswith("twin")} | {of["cats-00.png"]}
    assert len(same) == 1


def test_names_may_be_anything(tmp_path):
    simple(tmp_path)
    names = [
        "weiß — 猫.png",
        "line\nbreak.png",
        "a [1].png",
        "-rf.png",
        " .png",
        "x,y.png",
    ]
    for k, name in enumerate(names):
        picture(tmp_path / "cats" / "deeper" / name, seed=700 + k)
    folder = scan(tmp_path, ignore=(".txt",))
    assert set(names) <= set(parts(folder))
    assert "\n" not in folders.printable("line\nbreak.png")


def test_what_is_passed_over_is_named_or_hidden(tmp_path):
    simple(tmp_path)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt"):
        (tmp_path / "cats" / name).write_text("nothing")
    (text,) = problems(tmp_path)
    assert "notes.txt" in text and "ignore=('.txt',)" in text
    assert len(scan(tmp_path, ignore=(".txt",)).pictures) == 24


# ---------------------------------------------------------------- bad folders


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    simple(tmp_path)
    (tmp_path / "birds").mkdir()
    cats = tmp_path / "cats"
    picture(cats / "cut.jpg", (400, 300))
    whole = (cats / "cut.jpg").read_bytes()
    (cats / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (cats / "text.png").write_text("no image at all")
    (cats / "empty.tif").write_bytes(b"")
    (cats / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (cats / "film.mp4").write_bytes(b"1234")
    picture(cats / "tiny.png", (20, 400))
    shutil.copy(cats / "cats-00.png", tmp_path / "dogs" / "same.png")
    (cats / "round").symlink_to(tmp_path / "cats", target_is_directory=True)
    picture(tmp_path / "loose.png", seed=1_000)
    said = problems(tmp_path)
    for wrong in (
        "class birds has no image",
        "cats/cut.jpg is no image",
        "cats/text.png is no image",
        "cats/empty.tif is no image",
        "cats/nowhere.png is no image",
        "cats/film.mp4 is no image by its ending",
        "cats/tiny.png is smaller than 32 pixels",
        "cats/cats-00.png, dogs/same.png are equal, but of two classes",
        "cats/round is a link that leads back",
        "loose.png is in no folder of a class",
    ):
        assert any(wrong in text for text in said), (wrong, said)
    assert len(said) == 10


@pytest.mark.parametrize("classes", [0, 1])
def test_one_class_is_none(tmp_path, classes):
    simple(tmp_path, classes=("cats",)[:classes])
    assert any("expected two folders or more" in text for text in problems(tmp_path))


def test_no_folder(tmp_path):
    assert "no such folder" in problems(tmp_path / "nowhere")[0]


def test_three_images_of_a_class_are_needed_to_split_it(tmp_path):
    simple(tmp_path, 2)
    assert all("2 readable images: expected 3" in text for text in problems(tmp_path))
    scan(simple(tmp_path, 3))


def test_one_image_in_two_parts_is_refused(tmp_path):
    simple(tmp_path / "train", 6)
    simple(tmp_path / "test", 1)
    (text, other) = problems(tmp_path)
    assert "equal, but in two parts" in text and "equal, but in two parts" in other


def test_what_may_not_be_read_is_told():
    """As another user, where the tests run as root, for whom nothing is locked."""
    folder = Path(tempfile.mkdtemp())
    try:
        simple(folder)
        locked = folder / "cats" / "cats-03.png"
        locked.chmod(0)
        shut = folder / "dogs" / "shut"
        shut.mkdir(mode=0)
        folder.chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            said = problems(folder)
        finally:
            if root:
                os.seteuid(0)
    finally:
        shutil.rmtree(folder)
    assert any("cats/cats-03.png" in t and "ermission denied" in t for t in said), said
    assert any("dogs/shut cannot be opened" in text for text in said), said


def test_a_name_that_is_no_text_is_told(tmp_path):
    simple(tmp_path)
    raw = os.fsencode(tmp_path / "cats") + b"/caf\xe9.png"
    shutil.copy(tmp_path / "cats/cats-00.png", raw)
    assert any("UTF-8" in text for text in problems(tmp_path))


# ---------------------------------------------------------------- pixels become RGB


def rgb(path):
    image = headers.rgb(path)
    assert image.format == "uchar" and image.bands == 3
    return image.numpy()


def test_grey_deep_transparent_and_turned_become_rgb(tmp_path):
    grey = picture(tmp_path / "grey.png", kind="L")
    assert np.array_equal(rgb(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    alpha = picture(tmp_path / "alpha.png", kind="RGBA").astype(float)
    on_black = alpha[..., :3] * alpha[..., 3:] / 255
    assert np.abs(rgb(tmp_path / "alpha.png") - on_black).max() <= 1
    deep = np.random.default_rng(0).integers(0, 2**16, (40, 50, 3), dtype=np.uint16)
    as_vips = pyvips.Image.new_from_array(deep).copy(interpretation="rgb16")
    as_vips.pngsave(str(tmp_path / "deep.png"))
    assert np.array_equal(rgb(tmp_path / "deep.png"), deep >> 8)
    plain = picture(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: to be turned by a quarter, clockwise
    Image.fromarray(plain).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(rgb(tmp_path / "turned.png"), np.rot90(plain, -1))
    said = {
        name: headers.header(tmp_path / f"{name}.png").changes
        for name in ("grey", "alpha", "deep", "turned", "plain")
    }
    assert [len(of) for of in said.values()] == [1, 1, 1, 1, 0]
    turned = headers.header(tmp_path / "turned.png")
    assert (turned.width, turned.height) == (48, 64)


def test_cmyk_is_turned_into_srgb(tmp_path):
    flat = Image.new("CMYK", (64, 48), (0, 255, 255, 0))  # red ink
    flat.save(tmp_path / "red.jpg", quality=95)
    r, g, b = rgb(tmp_path / "red.jpg").reshape(-1, 3).mean(axis=0)
    assert r > 150 and g < 90 and b < 90
    assert "CMYK" in headers.header(tmp_path / "red.jpg").changes[0]


def test_changes_are_told(tmp_path):
    simple(tmp_path)
    picture(tmp_path / "cats" / "g.png", kind="L", seed=77)
    assert any("1 × grey" in note for note in scan(tmp_path).notes)


def test_pixels_of_unknown_range_are_refused(tmp_path):
    simple(tmp_path)
    odd = pyvips.Image.new_from_array(np.ones((64, 64), np.float32))
    odd.tiffsave(str(tmp_path / "cats" / "depth.tif"))
    five = np.zeros((64, 64, 5), np.uint8)
    pyvips.Image.new_from_array(five).tiffsave(str(tmp_path / "cats" / "five.tif"))
    said = problems(tmp_path)
    assert any("type float; expected 8 or 16 bits" in text for text in said)
    assert any("five.tif" in text and "channels" in text for text in said)


# ---------------------------------------------------------------- one image, any format


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """The same made image as PNG, tiled TIFF and a file laid out as SVS."""
    root = tmp_path_factory.mktemp("formats")
    pixels, _ = made_images.image(2, 5, side=640)
    for end in (".png", ".tif", ".svs"):
        made_images.save(root / f"a{end}", pixels)
    return root, torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("end", [".tif", ".svs"])
def test_tiled_files_with_levels_are_read_in_place(formats, end):
    root, pixels = formats
    about = headers.header(root / f"a{end}", decode=True)
    assert about.in_place and not about.changes
    file = pyramid.open(root / f"a{end}")
    assert len(file.levels) > 1 and file.tiled
    assert torch.equal(file.region(0, 30, 40, 300, 200), pixels[:, 40:240, 30:330])


def test_a_slide_cut_off_is_found_before_it_is_used(formats, tmp_path):
    root, _ = formats
    whole = (root / "a.svs").read_bytes()
    for share in (0.3, 0.6, 0.95):
        (tmp_path / "cut.svs").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="cut off|cannot be read|damaged"):
            headers.header(tmp_path / "cut.svs", decode=True)
    assert not headers.header(root / "a.png").in_place


def test_the_label_of_a_slide_is_no_level(formats):
    root, _ = formats
    factors = [level.factor for level in pyramid.open(root / "a.svs").levels]
    assert factors == [1, 4]
