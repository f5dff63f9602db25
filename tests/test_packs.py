"""Packs built from originals: tiny archives of the same layout, and the real packs."""

import io
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saccade_lib.data import builders, door, fetch, files, manifest, packs
from saccade_lib.data.files import CorruptData, MissingData

REAL = Path(os.environ.get("SACCADE_DATA") or "nowhere")
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nothing answers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("SACCADE_DATA", "SACCADE_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def picture(path: Path, size=(12, 8), seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    noise = draw.integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, "JPEG", quality=95)
    return path


def zipped(folder: Path, archive: Path, top: str) -> Path:
    """An archive as GitHub makes it: everything below one folder REPOSITORY-COMMIT."""
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(folder.rglob("*")):
            out.write(path, f"{top}/{path.relative_to(folder)}")
    return archive


def expect(monkeypatch, name: str, folder: Path) -> None:
    """Let `folder` be what is expected of the pack `name`."""
    listed = files.data_files(folder)
    names = sha256("\n".join(listed).encode()).hexdigest()
    known = replace(manifest.PACKS[name], fingerprint=files.fingerprint(folder))
    known = replace(known, names=names, files=len(listed), size=None)
    monkeypatch.setitem(manifest.PACKS, name, known)


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.suffix != ".lock")


# ---------------------------------------------------------------- the selection


@given(st.integers(1, 500), st.integers(1, 80))
def test_evenly_spaced_means_as_many_as_there_are_in_order_and_without_gaps(n, count):
    names = [f"{i:04}" for i in range(n)]
    chosen = [int(name) for name in builders.evenly(names, count)]
    assert len(chosen) == min(n, count) and chosen[0] == 0
    gaps = [b - a for a, b in itertools.pairwise([*chosen, n])]
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


def test_the_fingerprint_sees_names_and_bytes_but_no_packing_and_no_readme(tmp_path):
    for name in ("b/2.jpg", "a/1.jpg", "a/10.jpg"):
        picture(tmp_path / "one" / name)
    first = files.fingerprint(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "README.txt").write_text("about")
    (tmp_path / "two" / ".hidden").write_text("note")
    assert packs.fingerprint(tmp_path / "two") == first
    (tmp_path / "two" / "a" / "1.jpg").rename(tmp_path / "two" / "a" / "3.jpg")
    assert packs.fingerprint(tmp_path / "two") != first
    (tmp_path / "two" / "a" / "3.jpg").rename(tmp_path / "two" / "a" / "1.jpg")
    (tmp_path / "two" / "a" / "1.jpg").write_bytes(b"other")
    assert packs.fingerprint(tmp_path / "two") != first


# ---------------------------------------------------------------- natural photographs


@pytest.fixture
def caltech(tmp_path, monkeypatch):
    """Three classes of 7, 42 and 90 pictures, and one that the pack leaves out."""
    classes = {"crab": 7, "emu": 42, "okapi": 90, "Faces": 3}
    monkeypatch.setattr(builders, "NATURAL", ("crab", "emu", "okapi"))
    for name, count in classes.items():
        folder = tmp_path / "repository" / "101_ObjectCategories" / name
        for i in range(count):
            picture(folder / f"image_{i + 1:04}.jpg", seed=i)
        (folder / "thumbs.db").write_text("not a picture")
    return tmp_path / "repository"


def test_natural_takes_bytes_over_and_every_fourth_of_the_selection_is_val(
    caltech, tmp_path
):
    builders.build_natural([caltech], tmp_path / "out")
    top, source = tmp_path / "out" / "natural", caltech / "101_ObjectCategories"
    counts = {"crab": (6, 1), "emu": (32, 10), "okapi": (32, 10)}
    for name, (train, val) in counts.items():
        taken = [sorted((top / split / name).iterdir()) for split in ("train", "val")]
        assert (len(taken[0]), len(taken[1])) == (train, val)
        assert not {p.name for p in taken[0]} & {p.name for p in taken[1]}
        for path in taken[0] + taken[1]:
            assert path.read_bytes() == (source / name / path.name).read_bytes()
    numbers = [int(p.stem[6:]) for p in sorted((top / "val" / "emu").iterdir())]
    assert numbers == list(range(4, 42, 4))
    assert not (top / "train" / "Faces").exists()


def test_make_from_an_archive_or_a_folder_puts_the_whole_pack_in_place(
    caltech, tmp_path, cache, monkeypatch
):
    builders.build_natural([caltech], tmp_path / "out")
    expect(monkeypatch, "natural-caltech25", tmp_path / "out")
    archive = zipped(caltech, tmp_path / "original.zip", "Homework-836044dd")
    made = packs.make("natural", [archive])
    assert made == cache / "natural-caltech25" == door.pack("natural-caltech25")
    assert files.fingerprint(made) == files.fingerprint(tmp_path / "out")
    assert not (made / ".originals").exists()
    shutil.rmtree(made)
    packs.make("natural", [caltech / "101_ObjectCategories"])
    assert files.fingerprint(made) == files.fingerprint(tmp_path / "out")


def test_other_originals_than_the_records_leave_nothing(caltech, cache, monkeypatch):
    with pytest.raises(CorruptData, match="not the recorded pack"):
        packs.make("natural", [caltech])
    assert left_behind(cache) == []
    shutil.rmtree(caltech / "101_ObjectCategories" / "emu")
    with pytest.raises(CorruptData, match=r"no pictures in .*emu"):
        packs.make("natural", [caltech])
    with pytest.raises(CorruptData, match="no folder aGrass"):
        packs.make("satellite", [caltech])
    with pytest.raises(MissingData, match="typo"):
        packs.make("natural", [caltech / "typo"])
    assert left_behind(cache) == []


@pytest.mark.parametrize("damage", ["truncated", "text", "bomb"])
def test_an_original_that_is_no_archive_leaves_nothing(
    caltech, tmp_path, cache, monkeypatch, damage
):
    archive = zipped(caltech, tmp_path / "original.zip", "Homework-836044dd")
    if damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:-999])
    elif damage == "text":
        archive.write_text("<html>log in first</html>")
    else:
        monkeypatch.setattr(packs, "ORIGINAL_LIMIT", 1000)
    with pytest.raises(CorruptData, match=r"original\.zip"):
        packs.make("natural", [archive])
    assert left_behind(cache) == []


def test_an_interrupt_leaves_nothing(caltech, cache, monkeypatch):
    def stop(originals, out):
        (out / "half").write_text("done")
        raise KeyboardInterrupt

    recipe = replace(packs.RECIPES["natural"], build=stop)
    monkeypatch.setitem(packs.RECIPES, "natural", recipe)
    with pytest.raises(KeyboardInterrupt):
        packs.make("natural", [caltech])
    assert left_behind(cache) == []


# ---------------------------------------------------------------- satellite pictures


@pytest.fixture
def rsscn7(tmp_path):
    """Seven classes of 6 pictures, so that all are taken and two of each are val."""
    names = ("aGrass", "bField", "cIndustry", "dRiverLake", "eForest", "fResident")
    for name in (*names, "gParking"):
        for i in range(6):
            path = tmp_path / "RSSCN7" / name / f"{name[0]}{i + 1:03}.jpg"
            picture(path, (400, 400), seed=i)
    return tmp_path / "RSSCN7"


def test_satellite_pictures_are_encoded_again_and_every_third_is_val(
    rsscn7, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    builders.build_satellite([rsscn7], out)
    assert len(files.data_files(out)) == 42
    for letter, name in builders.SATELLITE.items():
        val = sorted(p.name for p in (out / "satellite" / "val" / name).iterdir())
        assert val == [f"{letter}003.jpg", f"{letter}006.jpg"]
    path = out / "satellite" / "train" / "grass" / "a001.jpg"
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (400, 400))
    original = rsscn7 / "aGrass" / "a001.jpg"
    assert path.stat().st_size < original.stat().st_size
    expect(monkeypatch, "satellite-rsscn7-420", out)
    size = replace(manifest.PACKS["satellite-rsscn7-420"], size=(400, 400))
    other = replace(size, fingerprint="0" * 64)  # as another JPEG library would give
    monkeypatch.setitem(manifest.PACKS, "satellite-rsscn7-420", other)
    archive = zipped(rsscn7, tmp_path / "original.zip", "RSSCN7-6d77849d")
    made = packs.make("satellite", [archive])
    found = door.find("satellite-rsscn7-420")
    assert "encoded here" in found.note and found.note in capsys.readouterr().out
    assert found.record()["sha256"] == {found.source: files.fingerprint(made)}
    (made / "satellite" / "train" / "grass" / "a001.jpg").write_bytes(b"damaged")
    with pytest.raises(CorruptData):
        door.find("satellite-rsscn7-420")


def test_a_pack_with_a_picture_of_another_size_is_not_put_in_place(
    rsscn7, tmp_path, cache, monkeypatch
):
    builders.build_satellite([rsscn7], tmp_path / "out")
    expect(monkeypatch, "satellite-rsscn7-420", tmp_path / "out")
    known = replace(manifest.PACKS["satellite-rsscn7-420"], size=(400, 400))
    monkeypatch.setitem(manifest.PACKS, "satellite-rsscn7-420", known)
    picture(rsscn7 / "eForest" / "e003.jpg", (399, 400))
    with pytest.raises(CorruptData, match=r"e003\.jpg.*399"):
        packs.make("satellite", [rsscn7])
    assert left_behind(cache) == []


def test_a_picture_of_another_size_or_that_does_not_decode_is_refused(rsscn7, tmp_path):
    builders.build_satellite([rsscn7], tmp_path / "out")
    packs.check_sizes("satellite-rsscn7-420", tmp_path / "out")
    path = tmp_path / "out" / "satellite" / "val" / "forest" / "e003.jpg"
    whole = path.read_bytes()
    picture(path, (399, 400))
    with pytest.raises(CorruptData, match=r"e003\.jpg.*399"):
        packs.check_sizes("satellite-rsscn7-420", tmp_path / "out")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptData, match=r"e003\.jpg.*decode"):
        packs.check_sizes("satellite-rsscn7-420", tmp_path / "out")


def test_a_class_of_satellite_pictures_that_is_missing_is_named(rsscn7, tmp_path):
    shutil.rmtree(rsscn7 / "eForest")
    with pytest.raises(CorruptData, match="forest"):
        builders.build_satellite([rsscn7], tmp_path / "out")


# ---------------------------------------------------------------- large photographs


def debian_package(path: Path, content: dict[str, Path]) -> Path:
    """A .deb: an ar archive of debian-binary, control.tar.xz and data.tar.xz."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, source in content.items():
            tar.add(source, f"./usr/share/backgrounds/{name}")
        link = tarfile.TarInfo("./usr/share/backgrounds/evil_by_link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd"}
    members["data.tar.xz"] = data.getvalue()
    out = b"!<arch>\n"
    for name, text in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(text):<10}`\n".encode()
        out += text + b"\n" * (len(text) % 2)
    path.write_bytes(out)
    return path


@pytest.fixture
def wallpapers(tmp_path, monkeypatch):
    """Two packages with a large photograph, a small one, and one left out."""
    monkeypatch.setattr(builders, "SHORT_SIDE", 32)
    rows = (
        "animals/bird | A, 2020 | CC0 1.0 | 48x32\nnature/sea | B | CC BY 4.0 | 20x30\n"
    )
    for module in (builders, packs):
        monkeypatch.setattr(module, "PHOTOS", rows)
    large = picture(tmp_path / "large.jpg", (96, 64), mode="CMYK")
    small = picture(tmp_path / "small.jpg", (20, 30))
    first = {"Bird_by_A.jpg": large, "boat_by_C.jpg": small}
    return [
        debian_package(tmp_path / "one.deb", first),
        debian_package(tmp_path / "two.deb", {"sea_by_B.jpg": small}),
    ]


def test_photographs_come_out_of_debian_packages_and_shrink_only_if_large(
    wallpapers, cache, monkeypatch
):
    built = cache.parent / "expected"
    for name in ("animals/bird.jpg", "nature/sea.jpg"):
        picture(built / "photos" / name)
    expect(monkeypatch, "photos-large10", built)
    names = manifest.PACKS["photos-large10"]
    monkeypatch.setitem(
        manifest.PACKS, "photos-large10", replace(names, unchanged=False)
    )
    made = packs.make("photos", wallpapers)
    expected = ["photos/animals/bird.jpg", "photos/nature/sea.jpg"]
    assert files.data_files(made) == expected
    sizes = [Image.open(made / name).size for name in expected]
    assert sizes == [(48, 32), (20, 30)]
    licences = (made / "photos" / "LICENSES.txt").read_text()
    assert "photos/animals/bird.jpg | A, 2020 | CC0 1.0" in licences


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "garbled"])
def test_a_debian_package_that_is_not_whole_is_refused(wallpapers, cache, damage):
    whole = wallpapers[1].read_bytes()
    garbled = whole[:-200] + bytes(200)
    damaged = {"truncated": whole[:-99], "text": b"<html>", "empty": b""}
    wallpapers[1].write_bytes(damaged.get(damage, garbled))
    with pytest.raises(CorruptData, match=r"two\.deb"):
        packs.make("photos", wallpapers)
    assert left_behind(cache) == []


def test_a_photograph_that_is_missing_is_named(wallpapers, cache):
    with pytest.raises(CorruptData, match="sea_by_"):
        packs.make("photos", wallpapers[:1])


# ---------------------------------------------------------------- birds


@pytest.fixture
def cub(tmp_path, monkeypatch):
    """Crops and annotations of two chosen species and one that the pack leaves out."""
    monkeypatch.setattr(builders, "BIRDS", (2, 3))
    crops, notes = tmp_path / "vision" / "bird_dataset", tmp_path / "CUB_200_2011"
    species = {1: "001.Albatross", 2: "002.Grebe", 3: "003.Wren"}
    table = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    boxes, parts = [], []
    for image in range(1, 13):
        label = 1 + (image - 1) // 4
        name = species[label]
        table["images"].append(f"{image} {name}/{name[4:]}_{image:04}.jpg")
        table["image_class_labels"].append(f"{image} {label}")
        table["train_test_split"].append(f"{image} {image % 2}")
        boxes.append(f"{image} 10.0 {image}.0 100.0 50.0")
        parts.append(f"{image} 1 60.0 {image + 25}.0 1")
        parts.append(f"{image} 2 0.0 0.0 0")
    table |= {"classes": [f"{i} {name}" for i, name in species.items()]}
    table |= {"bounding_boxes": boxes, "parts/part_locs": parts}
    table |= {"parts/parts": ["1 back", "2 beak"], "../attributes": ["1 has_bill"]}
    table |= {"attributes/class_attribute_labels_continuous": ["0.0 2.5"] * 3}
    for name, lines in table.items():
        path = notes / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\r\n".join(lines) + "\r\n")
    for label, name in species.items():
        for i in range(4):
            path = crops / "images" / name[4:] / f"{i:04}.jpg"
            picture(path, (227, 227), seed=10 * label + i)
    return [tmp_path / "vision", notes]


def test_birds_get_their_official_names_test_pictures_first(cub, tmp_path):
    builders.build_birds(cub, tmp_path / "out")
    top = tmp_path / "out" / "CUB_200_2011"
    # Species 2: images 5, 6, 7, 8; 6 and 8 are test pictures (0), so they come first.
    for image, file in ((6, "0000"), (8, "0001"), (5, "0002"), (7, "0003")):
        got = (top / "images" / "002.Grebe" / f"Grebe_{image:04}.jpg").read_bytes()
        source = cub[0] / "bird_dataset" / "images" / "Grebe" / f"{file}.jpg"
        assert got == source.read_bytes()
    lines = {
        p.relative_to(top).as_posix(): p.read_bytes().decode().split("\n")[:-1]
        for p in top.rglob("*.txt")
    }
    assert [line.split()[0] for line in lines["images.txt"]] == list(
        map(str, range(5, 13))
    )
    assert lines["classes.txt"] == ["2 002.Grebe", "3 003.Wren"]
    assert lines["train_test_split.txt"][:2] == ["5 1", "6 0"]
    assert lines["attributes/attributes.txt"] == ["1 has_bill"]
    assert len(lines["attributes/class_attribute_labels_continuous.txt"]) == 3
    assert not any(path.name == "001.Albatross" for path in (top / "images").iterdir())


def test_boxes_and_parts_are_in_the_crops_frame_and_the_originals_beside(cub, tmp_path):
    builders.build_birds(cub, tmp_path / "out")
    top = tmp_path / "out" / "CUB_200_2011"
    first = {
        name: (top / name).read_text().splitlines()[:2]
        for name in ("bounding_boxes.txt", "parts/part_locs.txt")
    }
    assert first["bounding_boxes.txt"][0] == "5 0.0 0.0 227.0 227.0"
    # Half-way across and half-way down the box; a hidden part stays at the corner.
    assert first["parts/part_locs.txt"] == ["5 1 113.5 113.5 1", "5 2 0.0 0.0 0"]
    original = (top / "original" / "part_locs.txt").read_text().splitlines()
    assert original[0] == "5 1 60.0 30.0 1"


def test_birds_whose_two_originals_do_not_match_are_refused(cub, tmp_path, cache):
    (cub[0] / "bird_dataset" / "images" / "Wren" / "0003.jpg").unlink()
    with pytest.raises(CorruptData, match=r"Wren: 3 pictures, .* 4"):
        packs.make("birds", cub)
    (cub[1] / "images.txt").unlink()
    with pytest.raises(CorruptData, match=r"images\.txt is missing"):
        packs.make("birds", cub)
    assert left_behind(cache) == []


# ---------------------------------------------------------------- the command


def test_without_a_network_the_command_names_what_is_not_there(
    cache, monkeypatch, capsys
):
    monkeypatch.setattr(fetch, "MIRRORS", (NOWHERE,))
    for name, recipe in packs.RECIPES.items():
        gone = tuple(replace(o, urls=(NOWHERE + o.file,)) for o in recipe.originals)
        monkeypatch.setitem(packs.RECIPES, name, replace(recipe, originals=gone))
    assert packs.main(["all"]) == 1
    said = capsys.readouterr().err
    assert said.count("could not download") == 5
    assert "not there: mnist, birds, natural, satellite, photos" in said
    assert "Traceback" not in said and left_behind(cache) == []


def test_the_command_builds_once_and_then_says_where_it_is(
    caltech, tmp_path, cache, monkeypatch, capsys
):
    builders.build_natural([caltech], tmp_path / "out")
    expect(monkeypatch, "natural-caltech25", tmp_path / "out")
    assert packs.main(["natural", str(caltech)]) == 0
    assert "building" in capsys.readouterr().out
    assert packs.main(["natural"]) == 0  # no original is asked for any more
    said = capsys.readouterr().out
    assert "building" not in said and str(cache / "natural-caltech25") in said


def test_the_command_refuses_originals_without_a_pack(capsys):
    for words in (["all", "x.zip"], ["mnist", "x.zip"], ["landscapes"]):
        with pytest.raises(SystemExit) as stopped:
            packs.main(words)
        assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_is_there_and_imports_no_torch():
    code = "import sys, saccade_lib.data.packs; print('torch' in sys.modules)"
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False", done.stderr


# ---------------------------------------------------------------- the real packs


def real(name: str) -> Path:
    if not (REAL / f"{name}.zip").is_file():
        pytest.skip(f"no {name}.zip in SACCADE_DATA")
    return door.pack(name, folder=REAL)


@pytest.mark.data
def test_the_rule_for_birds_gives_the_recorded_pack(tmp_path, cache):
    """Undo the pack: its pictures numbered as in the public original, its own rows."""
    top = real("birds-cub41-crops227") / "CUB_200_2011"
    notes, crops = tmp_path / "CUB_200_2011", tmp_path / "vision" / "bird_dataset"
    shutil.copytree(top, notes, ignore=shutil.ignore_patterns("*.jpg"))
    shutil.copy(top / "original" / "bounding_boxes.txt", notes)
    shutil.copy(top / "original" / "part_locs.txt", notes / "parts")
    split = dict(line.split() for line in (top / "train_test_split.txt").open())
    rows = [line.split() for line in (top / "images.txt").open()]
    rows.sort(key=lambda row: (row[1].split("/")[0], split[row[0]], int(row[0])))
    for name, group in itertools.groupby(rows, lambda row: row[1].split("/")[0]):
        (crops / "images" / name[4:]).mkdir(parents=True)
        for i, (_, path) in enumerate(group):
            os.link(top / "images" / path, crops / "images" / name[4:] / f"{i:04}.jpg")
    builders.build_birds([crops, notes], tmp_path / "out")
    expected = manifest.PACKS["birds-cub41-crops227"].fingerprint
    assert files.fingerprint(tmp_path / "out") == expected


# Pictures a class in Caltech-101.
CALTECH = """crab 73 crayfish 70 crocodile 50 crocodile_head 51 dalmatian 67 elephant 64
emu 53 flamingo 67 hawksbill 100 hedgehog 54 ibis 80 joshua_tree 64 kangaroo 86 ketch
114 llama 78 lotus 66 okapi 39 rhino 59 schooner 63 scorpion 84 starfish 86 sunflower 85
water_lilly 37 cougar_body 47 cougar_face 69"""


@pytest.mark.data
def test_the_rule_for_natural_photographs_gives_the_recorded_pack(tmp_path, cache):
    """Put the pack's pictures among empty files, as many as Caltech-101 has."""
    top = real("natural-caltech25") / "natural"
    source = tmp_path / "101_ObjectCategories"
    words = CALTECH.split()
    for name, count in zip(words[::2], map(int, words[1::2]), strict=True):
        (source / name).mkdir(parents=True)
        for i in range(1, count + 1):
            file = f"image_{i:04}.jpg"
            places = [top / split / name / file for split in ("train", "val")]
            content = [place.read_bytes() for place in places if place.is_file()]
            (source / name / file).write_bytes(content[0] if content else b"")
    builders.build_natural([source], tmp_path / "out")
    expected = manifest.PACKS["natural-caltech25"].fingerprint
    assert files.fingerprint(tmp_path / "out") == expected


@pytest.mark.data
def test_the_rule_for_satellite_pictures_gives_the_recorded_names(tmp_path, cache):
    top = real("satellite-rsscn7-420") / "satellite"
    for letter, name in builders.SATELLITE.items():
        chosen = builders.evenly([f"{letter}{i:03}.jpg" for i in range(1, 401)], 60)
        val = [file for i, file in enumerate(chosen) if i % 3 == 2]
        assert sorted(p.name for p in (top / "val" / name).iterdir()) == val
        train = sorted(set(chosen) - set(val))
        assert sorted(p.name for p in (top / "train" / name).iterdir()) == train


@pytest.mark.data
def test_the_recorded_photographs_have_the_sizes_and_licences_listed(cache):
    folder = real("photos-large10")
    listed = [row.split(" | ") for row in manifest.PHOTOS.splitlines()]
    for name, _, _, size in listed:
        with Image.open(folder / "photos" / f"{name}.jpg") as image:
            assert "{}x{}".format(*image.size) == size
    assert len(files.data_files(folder)) == len(listed)
