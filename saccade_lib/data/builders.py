"""How each pack is selected from its public original, and the layout it gets.

Every builder takes folders that hold the originals and writes one pack folder.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from saccade_lib.data.files import CorruptData
from saccade_lib.data.manifest import PHOTOS

JPEG = {"quality": 80, "optimize": True}


def evenly(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of `names`, evenly spaced from the first on."""
    count = min(count, len(names))
    return [names[i * len(names) // count] for i in range(count)]


# ---------------------------------------------------------------- birds

BIRDS = (
    *(50, 51, 60, 61, 63, 67, 68, 69, 95, 96, 97, 98, 114, 120, 123, 124, 132, 151),
    *(152, 158, 159, 163, 164, 165, 166, 169, 170, 172, 176, 180, 181, 187, 188, 189),
    *(190, 191, 192, 194, 195, 198, 200),
)  # official class ids, families that are easily confused
CROP = 227  # side of a crop, pixels


def build_birds(originals: Sequence[Path], out: Path) -> None:
    """41 species of CUB-200-2011: crops by the bounding box, in the official layout.

    `originals` are a folder with `bird_dataset/images/SPECIES/NNNN.jpg`, crops
    stretched to 227x227, and one with `CUB_200_2011/`, the official annotations. Within
    a species the crops stand in this order: official test pictures, then training
    pictures, each as in `images.txt`. Bytes are taken over; boxes and parts are given
    in the crop's frame, and in the original's under `original/`.
    """
    crops = _folder(originals, "bird_dataset") / "images"
    cub = _folder(originals, "CUB_200_2011")
    top = out / "CUB_200_2011"
    labels = dict(line.split() for line in _lines(cub / "image_class_labels.txt"))
    chosen = {image for image, label in labels.items() if int(label) in BIRDS}
    paths = dict(line.split() for line in _lines(cub / "images.txt"))
    train = dict(line.split() for line in _lines(cub / "train_test_split.txt"))
    boxes = dict(line.split(maxsplit=1) for line in _lines(cub / "bounding_boxes.txt"))
    for folder in sorted({paths[image].split("/")[0] for image in chosen}):
        ids = [i for i in paths if i in chosen and paths[i].startswith(f"{folder}/")]
        ids.sort(key=lambda image: train[image])  # stable: test (0), then train (1)
        _copy_crops(crops / folder[4:], [top / "images" / paths[i] for i in ids])

    def rows(name: str) -> list[str]:
        return [line for line in _lines(cub / name) if line.split()[0] in chosen]

    for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt"):
        _write(top / name, rows(name))
    classes = [s for s in _lines(cub / "classes.txt") if int(s.split()[0]) in BIRDS]
    _write(top / "classes.txt", classes)
    _write(top / "original/bounding_boxes.txt", rows("bounding_boxes.txt"))
    whole = f"0.0 0.0 {CROP:.1f} {CROP:.1f}"
    inside = [f"{line.split()[0]} {whole}" for line in rows("bounding_boxes.txt")]
    _write(top / "bounding_boxes.txt", inside)
    parts = rows("parts/part_locs.txt")
    _write(top / "original/part_locs.txt", parts)
    _write(top / "parts/part_locs.txt", [_in_crop(line, boxes) for line in parts])
    _write(top / "parts/parts.txt", _lines(cub / "parts/parts.txt"))
    for name in ("attributes.txt", "class_attribute_labels_continuous.txt"):
        # The official archive has attributes.txt beside CUB_200_2011/, not in it.
        places = (cub / "attributes" / name, cub / name, cub.parent / name)
        found = next((place for place in places if place.is_file()), places[0])
        _write(top / "attributes" / name, _lines(found))
    _write(top / "README.txt", [BIRDS_README])


BIRDS_README = """\
41 of the 200 species of Caltech-UCSD Birds-200-2011 (Wah, Branson, Welinder, Perona,
Belongie 2011), for non-commercial research and education. Every picture is its bounding
box, stretched to 227x227. Names, ids and split are the official ones.
bounding_boxes.txt and parts/part_locs.txt are in the crop's pixels; the same two files
in original/ are in the original's."""


def _copy_crops(folder: Path, targets: list[Path]) -> None:
    sources = sorted(folder.glob("*.jpg"))
    if len(sources) != len(targets):
        raise CorruptData(
            f"{folder}: {len(sources)} pictures, but the annotations have "
            f"{len(targets)}. These originals do not belong together."
        )
    for source, target in zip(sources, targets, strict=True):
        _copy(source, target)


def _in_crop(line: str, boxes: dict[str, str]) -> str:
    """A row `image part x y visible` moved from the original's to the crop's frame."""
    image, part, x, y, visible = line.split()
    if visible == "0":
        return line
    left, top, width, height = map(float, boxes[image].split())
    # Divided first: the records' pack was rounded so.
    x, y = (float(x) - left) / width * CROP, (float(y) - top) / height * CROP
    return f"{image} {part} {x:.1f} {y:.1f} {visible}"


# ---------------------------------------------------------------- natural photographs

NATURAL = (
    *("cougar_body", "cougar_face", "crab", "crayfish", "crocodile", "crocodile_head"),
    *("dalmatian", "elephant", "emu", "flamingo", "hawksbill", "hedgehog", "ibis"),
    *("joshua_tree", "kangaroo", "ketch", "llama", "lotus", "okapi", "rhino"),
    *("schooner", "scorpion", "starfish", "sunflower", "water_lilly"),
)


def build_natural(originals: Sequence[Path], out: Path) -> None:
    """25 classes of Caltech-101, `natural/train|val/CLASS/`, bytes taken over.

    42 pictures a class (or all), evenly spaced in file order; every fourth is val.
    """
    source = _folder(originals, "101_ObjectCategories")
    for name in NATURAL:
        for i, file in enumerate(evenly(_pictures(source / name), 42)):
            split = "val" if i % 4 == 3 else "train"
            _copy(source / name / file, out / "natural" / split / name / file)
    _write(out / "natural/README.txt", [NATURAL_README])


NATURAL_README = """\
25 classes of Caltech-101 (Li, Andreeto, Ranzato, Perona; CaltechDATA, CC BY 4.0), the
original JPEG files. 42 pictures a class (fewer where there are fewer), evenly spaced in
file order; every fourth of them is val. The split is this book's own."""


# ---------------------------------------------------------------- satellite pictures

SATELLITE = {"a": "grass", "b": "field", "c": "industry", "d": "river_lake"}
SATELLITE |= {"e": "forest", "f": "residential", "g": "parking"}


def build_satellite(originals: Sequence[Path], out: Path) -> None:
    """Seven classes of RSSCN7, `satellite/train|val/CLASS/`, encoded again as JPEG.

    60 of 400 pictures a class, evenly spaced in file order, which runs through four
    scales; every third is val.
    """
    source = _folder(originals, "aGrass").parent
    for letter, name in SATELLITE.items():
        folders = [p for p in source.glob(f"{letter}[A-Z]*") if p.is_dir()]
        if len(folders) != 1:
            raise CorruptData(
                f"{source}: expected one folder named {letter}... ({name})"
            )
        for i, file in enumerate(evenly(_pictures(folders[0]), 60)):
            split = "val" if i % 3 == 2 else "train"
            target = out / "satellite" / split / name / f"{Path(file).stem}.jpg"
            _encode(folders[0] / file, target)
    _write(out / "satellite/README.txt", [SATELLITE_README])


SATELLITE_README = """\
Seven classes of RSSCN7 (Zou, Ni, Zhang, Wang 2015; imagery from Google Earth, research
use): 60 of 400 pictures a class, evenly spaced in file order, which runs through four
scales, encoded again as JPEG of quality 80. Every third of them is val. The split is
this book's own."""


# ---------------------------------------------------------------- large photographs

SHORT_SIDE = 2528  # pixels; larger photographs are reduced to it


def build_photos(originals: Sequence[Path], out: Path) -> None:
    """Ten photographs out of Debian's lomiri-wallpapers, `photos/CLASS/NAME.jpg`."""
    files = [p for folder in originals for p in sorted(folder.rglob("*_by_*.jpg"))]
    licences = ["# file | author | licence | width x height here"]
    for row in PHOTOS.splitlines():
        name = row.split(" | ")[0]
        stem = f"{name.split('/')[1]}_by_"
        found = [p for p in files if p.name.lower().startswith(stem)]
        if not found:
            raise CorruptData(f"no photograph {stem}*.jpg in {_listed(originals)}")
        _encode(found[0], out / "photos" / f"{name}.jpg", SHORT_SIDE)
        licences.append(f"photos/{row.replace(' |', '.jpg |', 1)}")
    _write(out / "photos/LICENSES.txt", licences)


# ---------------------------------------------------------------- small tools


def _folder(originals: Sequence[Path], name: str) -> Path:
    """The folder called `name` in one of `originals`, or one of them itself."""
    for original in originals:
        if original.name == name:
            return original
        for found in sorted(original.rglob(name)):
            if found.is_dir():
                return found
    raise CorruptData(f"no folder {name} in {_listed(originals)}: another original?")


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _pictures(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob("*.jpg"))
    if not names:
        raise CorruptData(f"no pictures in {folder}: another original?")
    return names


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise CorruptData(f"{path} is missing: another original?") from None


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n"
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _encode(source: Path, target: Path, short_side: int | None = None) -> None:
    """Write a picture as JPEG, its shorter side reduced to `short_side` if larger."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    if short_side and min(image.size) > short_side:
        scale = short_side / min(image.size)
        size = tuple(round(side * scale) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(target, "JPEG", **JPEG)
