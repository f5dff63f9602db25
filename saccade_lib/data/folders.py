"""A reader's own images: a folder a class, checked before anything is trained.

    FOLDER/CLASS/.../image.png                       split here, by a hash of the names
    FOLDER/{train,validation,test}/CLASS/.../image   split by the reader

Read are PNG, JPEG, WebP, TIFF and SVS, a whole-slide TIFF. `scan` reads headers, and
then decodes each file once, row by row, so that no image is ever held whole. Whatever
is wrong is told at once, in one `BadFolder`, before the first step of training.

All images become RGB of 8 bits, and what that changed is told: grey is copied into
three channels, alpha is laid on black, CMYK and Lab become sRGB, of 16 bits the upper 8
are kept, and a camera's note of how it was held (EXIF) is obeyed.

Where the reader has not split the images, they are split by *groups*: images of one
group, say the crops ``slide1_003.png`` and ``slide1_017.png`` of one slide, stay in one
part. By default the text before the last ``_`` names the group if that leaves enough
groups; else each image is its own. Images of equal content always are in one group.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from saccade_lib.data import name_groups
from saccade_lib.data.digits import SPLITS
from saccade_lib.data.files import DataError, sha256
from saccade_lib.data.headers import SUFFIXES, Header, header
from saccade_lib.data.name_groups import printable
from saccade_lib.session import check_seed

NAMED = {"val": "validation", "valid": "validation"} | {name: name for name in SPLITS}
LEAST = 32  # shortest side, pixels
SHOWN = 4  # names that a message lists


class BadFolder(DataError):
    """Images that cannot be trained on.

    Attributes:
        problems: one text each: what is wrong, what is expected, what to do.
    """

    def __init__(self, root: Path, problems: Sequence[str]):
        self.problems = tuple(problems)
        count = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
        listed = "\n".join(f"  {k}. {text}" for k, text in enumerate(problems, 1))
        super().__init__(f"{printable(root)}: {count} wrong\n{listed}")


@dataclass(frozen=True)
class Picture:
    """One image of a folder: where it is, what it shows, and its `Header`."""

    path: Path
    label: int
    split: str
    group: str
    header: Header


@dataclass(frozen=True, eq=False)
class Folder:
    """Images that can be trained on.

    Attributes:
        root: of the folder.
        classes: names of the folders of classes, sorted.
        pictures: in the order of split, class and name.
        notes: what a reader should know, a line each.
        seed: of the split.
    """

    root: Path
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    seed: int = 0

    def of(self, split: str) -> list[Picture]:
        """The pictures of ``"train"``, ``"validation"`` or ``"test"``."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: one of {SPLITS}")
        return [picture for picture in self.pictures if picture.split == split]

    def count(self, split: str) -> dict[str, int]:
        """Images of a split by the name of their class."""
        found = Counter(picture.label for picture in self.of(split))
        return {name: found[k] for k, name in enumerate(self.classes)}

    def sides(self) -> list[int]:
        """The shorter side of each image, pixels, ascending."""
        return sorted(min(p.header.width, p.header.height) for p in self.pictures)

    def check_sides(self, least: int) -> None:
        """Raise BadFolder, naming all, where an image is smaller than ``least``."""
        small = [p.path for p in self.pictures if p.header.short < least]
        if small:
            raise BadFolder(self.root, [_too_small(self.root, small, least)])

    def __str__(self) -> str:
        short = self.sides()
        lines = [
            f"{len(self.pictures):,} images of {len(self.classes)} classes; shorter "
            f"sides from {short[0]:,} to {short[-1]:,} pixels"
        ]
        for split in SPLITS:
            counts = ", ".join(
                f"{printable(name)} {n:,}" for name, n in self.count(split).items()
            )
            lines.append(f"{split}: {counts}")
        return "\n".join([*lines, *self.notes])


def scan(
    folder: str | Path,
    group: str | None = "auto",
    seed: int = 0,
    ignore: Sequence[str] = (),
    least: int = LEAST,
    decode: bool = True,
    threads: int = 4,
) -> Folder:
    """Look through a folder of images, or say all that is wrong with it.

    Args:
        folder: holds a folder a class, or the folders train, validation (or val) and
            test with a folder a class each; of these, test and validation may lack.
        group: what names the images that belong together: ``"auto"``; a text, such as
            ``"_"``, before whose last occurrence the group's name ends; or None, each
            image by itself.
        seed: of the split.
        ignore: endings of files to pass over, such as ``(".txt",)``. Hidden files and
            ``Thumbs.db`` are always passed over.
        least: shortest side that an image must have, pixels.
        decode: whether to decode each file once. Without, a file that is cut off is
            found when it is used.

    Raises:
        BadFolder: with all that is wrong.
    """
    check_seed(seed)
    root, problems, group = Path(folder), [], group or None
    if not root.is_dir():
        raise BadFolder(root, ["there is no such folder. Correct the path"])
    if not os.access(root, os.R_OK | os.X_OK, effective_ids=True):
        raise BadFolder(root, ["it cannot be opened. Check its permissions"])
    ignored = {end.lower() for end in ignore}
    parts = _parts(root)
    classes = sorted({name for top in parts.values() for name in _folders(top)})
    _check_classes(root, parts, classes, problems)
    found = list(_files(root, parts, classes, ignored, problems))
    headers = _headers(root, [path for path, _, _ in found], decode, threads, problems)
    _check_counts(root, parts, classes, found, headers, problems)
    kept = [entry for entry in found if entry[0] in headers]
    small = [path for path, _, _ in kept if headers[path].short < least]
    if small:
        problems.append(_too_small(root, small, least))
    same = _same_content([path for path, _, _ in kept], headers)
    _check_same(root, kept, same, problems)
    if problems:
        raise BadFolder(root, problems)
    notes = _notes_on_changes(headers)
    names, said = name_groups.groups(root, kept, same, group)
    pictures = [
        Picture(path, label, part, names[path], headers[path])
        for path, label, part in kept
    ]
    pictures = _split(root, classes, pictures, seed)
    return Folder(root, tuple(classes), tuple(pictures), (*notes, *said), seed)


# ---- What lies where


def _parts(root: Path) -> dict[str, Path]:
    """Folders of the splits by their name, or the root as ``"all"``."""
    named = {NAMED[name]: top for name, top in _folders(root).items() if name in NAMED}
    return named if "train" in named else {"all": root}


def _folders(top: Path) -> dict[str, Path]:
    try:
        entries = sorted(top.iterdir())
    except OSError:
        return {}  # told by `_files`
    return {p.name: p for p in entries if p.is_dir() and not p.name.startswith(".")}


def _files(root, parts, classes, ignored, problems) -> Iterator[tuple[Path, int, str]]:
    """(path, label, part) of each file that should be an image."""
    strange: dict[str, list[Path]] = defaultdict(list)
    for part, top in parts.items():
        for label, name in enumerate(classes):
            for path in _below(root, top / name, (), problems):
                end = path.suffix.lower()
                if end in SUFFIXES:
                    yield path, label, part
                elif end not in ignored:
                    strange[end or "no ending"].append(path)
    for end, paths in sorted(strange.items()):
        problems.append(
            f"{_some(root, paths)} no image by its ending: expected one of "
            f"{', '.join(SUFFIXES)}. Convert or remove, or pass over with "
            f"ignore=({end!r},)"
        )


def _below(root: Path, top: Path, above: tuple, problems: list) -> Iterator[Path]:
    """Files at any depth; links are followed, but not in a circle."""
    try:
        real = os.path.realpath(top, strict=True)
        entries = sorted(top.iterdir())
    except FileNotFoundError:
        return  # a class that this part does not have
    except OSError as error:
        problems.append(
            f"{_shown(root, top)} cannot be opened ({error.strerror}). Check its "
            "permissions and links"
        )
        return
    if real in above:
        problems.append(
            f"{_shown(root, top)} is a link that leads back to a folder above it. "
            "Remove the link"
        )
        return
    for path in entries:
        if path.name.startswith(".") or path.name == "Thumbs.db":
            continue
        if path.is_dir():
            yield from _below(root, path, (*above, real), problems)
        else:
            yield path


def _headers(root, paths, decode, threads, problems) -> dict[Path, Header]:
    """The headers of the files that can be read."""

    def one(path: Path) -> Header | str:
        try:
            return header(path, decode)
        except (ValueError, OSError) as error:
            text = str(error) if isinstance(error, ValueError) else error.strerror
            text = str(text or error).replace(f'"{path}"', "it")
            return printable(text.replace(str(path), "it"))

    with ThreadPoolExecutor(threads) as pool:
        looked = dict(zip(paths, pool.map(one, paths), strict=True))
    for path, said in looked.items():
        if isinstance(said, str):
            problems.append(
                f"{_shown(root, path)} is no image that can be read: {said}"
            )
    return {path: said for path, said in looked.items() if isinstance(said, Header)}


# ---- What can be wrong with all of them together


def _check_classes(root, parts, classes, problems) -> None:
    loose = [
        path
        for top in parts.values()
        if os.access(top, os.R_OK | os.X_OK, effective_ids=True)
        for path in sorted(top.iterdir())
        if path.is_file() and path.suffix.lower() in SUFFIXES
    ]
    if loose:
        problems.append(
            f"{_some(root, loose)} in no folder of a class. Put each image into the "
            "folder that names its class"
        )
    if len(classes) < 2:
        there = f"one class, {printable(classes[0])}" if classes else "no class"
        problems.append(
            f"{there}: expected two folders or more, one a class. Add a folder of "
            "images of another class"
        )


def _check_counts(root, parts, classes, found, headers, problems) -> None:
    """Each class needs an image in each part, or three to be split."""
    listed = Counter((part, label) for _, label, part in found)
    good = Counter((part, label) for path, label, part in found if path in headers)
    for part in parts:
        need = 3 if part == "all" else 1
        if part == "train":
            need += sum(split not in parts for split in SPLITS)
        for label, name in enumerate(classes):
            what = f"class {printable(name)}"
            what += "" if part == "all" else f" of {part}"
            if not listed[part, label]:
                problems.append(f"{what} has no image. Add some, or remove the class")
            elif good[part, label] < need:
                problems.append(
                    f"{what} has {good[part, label]} readable images: expected {need} "
                    "or more, one for each of training, validation and test. Add some"
                )


def _too_small(root: Path, paths: list[Path], least: int) -> str:
    return (
        f"{_some(root, paths)} smaller than {least} pixels a side, too small to look "
        "into. Remove, or choose a smaller proxy and smaller glimpses"
    )


def _same_content(paths, headers) -> dict[Path, str]:
    """SHA-256 of the files that have a twin; only files of one length are read."""
    lengths = Counter(headers[path].bytes for path in paths)
    suspects = [path for path in paths if lengths[headers[path].bytes] > 1]
    sums = {path: sha256(path) for path in suspects}
    often = Counter(sums.values())
    return {path: digest for path, digest in sums.items() if often[digest] > 1}


def _check_same(root, found, same, problems) -> None:
    """Equal files must not stand for two classes, nor in two parts."""
    twins = defaultdict(list)
    for path, label, part in found:
        if path in same:
            twins[same[path]].append((path, label, part))
    for of in twins.values():
        names = _some(root, [path for path, _, _ in of])
        if len({label for _, label, _ in of}) > 1:
            problems.append(f"{names} equal, but of two classes. Keep one of them")
        elif len({part for _, _, part in of}) > 1:
            problems.append(
                f"{names} equal, but in two parts: a test on an image of training says "
                "nothing. Keep one of them"
            )


def _notes_on_changes(headers: dict[Path, Header]) -> list[str]:
    changes = Counter(change for at in headers.values() for change in at.changes)
    return [f"{count:,} × {change}" for change, count in sorted(changes.items())]


def _split(root, classes, pictures, seed) -> list[Picture]:
    """The pictures, each in its part."""
    given = {p.split for p in pictures} - {"all", "train"}
    free = [p for p in pictures if p.split in ("all", "train")]
    cards = [(p.group, p.label) for p in free]
    parts = name_groups.dealt(cards, given, seed)
    made = [p for p in pictures if p.split in given]
    made += [replace(p, split=part) for p, part in zip(free, parts, strict=True)]
    lacking = [
        f"class {printable(name)} has no image left for {split}: its images are of too "
        "few groups. Add images of other groups, pass another seed, or group=None if "
        "each image stands for itself"
        for split in SPLITS
        for label, name in enumerate(classes)
        if not any(p.split == split and p.label == label for p in made)
    ]
    if lacking:
        raise BadFolder(root, lacking)
    return sorted(made, key=lambda p: (SPLITS.index(p.split), p.label, str(p.path)))


# ---- Names in messages


def _shown(root: Path, path: Path) -> str:
    return printable(path.relative_to(root))


def _some(root: Path, paths: Sequence[Path]) -> str:
    """The first names, how many more, and "is" or "are"."""
    listed = ", ".join(_shown(root, path) for path in paths[:SHOWN])
    more = f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else ""
    return f"{listed}{more} {'is' if len(paths) == 1 else 'are'}"
