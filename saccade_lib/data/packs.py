"""Build each pack of pictures from its public original, by the records' selection.

`make data`, or `python -m saccade_lib.data.packs all` (or `mnist`, `birds`, `natural`,
`satellite`, `photos`). A reader with internet gets the pictures that the records used:
birds and natural photographs byte for byte, satellite pictures and large photographs
encoded again by the same rule and, if their bytes differ, compared by name and decoded
size only. A pack is compared by the fingerprint of its files: a zip made of them need
not have the bytes of the records' zip.
"""

import argparse
import io
import lzma
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from saccade_lib.data import door
from saccade_lib.data.builders import (
    build_birds,
    build_natural,
    build_photos,
    build_satellite,
)
from saccade_lib.data.fetch import Original, download
from saccade_lib.data.files import (
    CorruptData,
    DataError,
    MissingData,
    data_files,
    fingerprint,
    new_folder,
    unzip,
)
from saccade_lib.data.manifest import PACKS, PHOTOS

__all__ = ["RECIPES", "Recipe", "check_sizes", "fingerprint", "main", "make"]

ORIGINAL_LIMIT = 2**30  # bytes unpacked; the largest original has 0.4 GiB


@dataclass(frozen=True)
class Recipe:
    """How a pack is made: its name, its public originals, what is needed of them."""

    name: str
    originals: tuple[Original, ...]
    build: Callable[[Sequence[Path], Path], None]
    parts: tuple[str, ...]  # only files with one of these in their path are unpacked


def _github(repository: str, commit: str) -> Original:
    url = f"https://github.com/{repository}/archive/{commit}.zip"
    return Original(f"{repository.replace('/', '-')}.zip", (url,))


def _debian(package: str, sha256: str) -> Original:
    file = f"{package}_20.04.0-2_all.deb"
    path = f"debian/pool/main/l/lomiri-wallpapers/{file}"
    if_gone = path.replace("debian/", "archive/debian/20230701T000000Z/", 1)
    urls = (f"https://deb.debian.org/{path}", f"https://snapshot.debian.org/{if_gone}")
    return Original(file, urls, sha256)


RECIPES = {
    "birds": Recipe(
        "birds-cub41-crops227",
        (
            _github("serizba/vision", "dc4cf6285575eba8635449fb8291b91ef3d66025"),
            _github("floraWLM/CUB-200", "870de9efe3e99ba4a44ebaf3781e47d71cfe3532"),
        ),
        build_birds,
        ("bird_dataset/images/", ".txt"),
    ),
    "natural": Recipe(
        "natural-caltech25",
        (
            _github(
                "MachineLearning2020/Homework2-Caltech101",
                "836044dd000296b2bb74d0aa4b4e462e459b01d7",
            ),
        ),
        build_natural,
        ("101_ObjectCategories/",),
    ),
    "satellite": Recipe(
        "satellite-rsscn7-420",
        (_github("palewithout/RSSCN7", "6d77849df87d242b323184ab096e44dd63730c7e"),),
        build_satellite,
        (".jpg",),
    ),
    "photos": Recipe(
        "photos-large10",
        (
            _debian(
                "lomiri-wallpapers-16.04",
                "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
            ),
            _debian(
                "lomiri-wallpapers-20.04",
                "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
            ),
        ),
        build_photos,
        ("_by_",),
    ),
}


def make(which: str, originals: Sequence[Path] = ()) -> Path:
    """Build a pack of `RECIPES` in the cache, from `originals` or from a download.

    `originals` are archives or unpacked folders. The finished pack is compared with the
    records' before it is put in place; if anything fails, nothing stays.
    """
    recipe = RECIPES[which]
    final = door.cache() / recipe.name
    with new_folder(final) as partial:
        if partial:
            work = partial / ".originals"
            work.mkdir()
            paths = [Path(path) for path in originals]
            paths = paths or [download(o, work) for o in recipe.originals]
            opened = [
                _opened(path, work / str(i), recipe.parts)
                for i, path in enumerate(paths)
            ]
            recipe.build(opened, partial)
            shutil.rmtree(work)
            (partial / ".fingerprint").write_text(fingerprint(partial) + "\n")
            door.verify(recipe.name, partial, "Nothing was kept: another original?")
            check_sizes(recipe.name, partial)
    return final


def _opened(original: Path, folder: Path, parts: Sequence[str]) -> Path:
    """The folder of an original: itself, or a .zip or .deb unpacked into `folder`."""
    if original.is_dir():
        return original
    if not original.is_file():
        raise MissingData(f"no file or folder {original}. Correct the path.")

    def wanted(name: str) -> bool:
        return any(part in name for part in parts)

    if original.suffix == ".deb":
        folder.mkdir()
        _undeb(original, folder, wanted)
    else:
        unzip(original, folder, ORIGINAL_LIMIT, wanted)
    return folder


def _undeb(package: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Copy wanted plain files of a Debian package into `folder`, without their paths.

    A package is an ar archive: headers of 60 bytes, members at even positions, one of
    them data.tar.xz.
    """
    content = package.read_bytes()
    position = 8 if content.startswith(b"!<arch>\n") else len(content)
    try:
        while position < len(content):
            header = content[position : position + 60]
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                data = content[position + 60 : position + 60 + size]
                with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                    for member in tar:
                        if member.isfile() and wanted(member.name):
                            bytes_ = tar.extractfile(member).read()
                            (folder / Path(member.name).name).write_bytes(bytes_)
                return
            position += 60 + size + size % 2
    except (ValueError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        reason = f" ({error})"
    else:
        reason = ""
    raise CorruptData(f"{package}: not a whole Debian package{reason}. Fetch it again.")


def check_sizes(name: str, folder: Path) -> None:
    """Raise CorruptData unless every picture decodes, to the size it should have."""
    rows = [row.split(" | ") for row in PHOTOS.splitlines()]
    photos = {f"photos/{r[0]}.jpg": tuple(map(int, r[3].split("x"))) for r in rows}
    for file in data_files(folder):
        if not file.endswith(".jpg"):
            continue
        expected = photos.get(file, PACKS[name].size)
        try:
            with Image.open(folder / file) as image:
                image.load()
        except OSError as error:
            raise CorruptData(f"{file} of {name} does not decode: {error}.") from error
        if expected and image.size != expected:
            raise CorruptData(f"{file} of {name}: {image.size}, expected {expected}.")


# ---------------------------------------------------------------- command line


def main(argv: Sequence[str] | None = None) -> int:
    """Make what is not at hand yet; 0 if all that was asked for is there in the end."""
    parser = argparse.ArgumentParser(
        prog="python -m saccade_lib.data.packs",
        description="Build the book's packs of pictures from their public originals.",
    )
    parser.add_argument("which", choices=["all", "mnist", *RECIPES])
    parser.add_argument(
        "originals",
        nargs="*",
        type=Path,
        help="archives or folders to build one pack from, instead of downloading",
    )
    asked = parser.parse_args(argv)
    if asked.originals and asked.which not in RECIPES:
        parser.error("originals go with one pack of pictures, by its name")
    names = ["mnist", *RECIPES] if asked.which == "all" else [asked.which]
    failed = [name for name in names if not _made(name, asked.originals)]
    if failed:
        print(f"not there: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _made(which: str, originals: Sequence[Path]) -> bool:
    try:
        if which == "mnist":
            print(door.mnist(download=True, quiet=True).note)
            return True
        try:
            found = door.find(RECIPES[which].name, quiet=True)
        except MissingData:
            print(f"building {RECIPES[which].name} ...", flush=True)
            make(which, originals)
            found = door.find(RECIPES[which].name, quiet=True)
        print(f"{found.note}: {found.path}")
    except DataError as error:
        print(f"{which}: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
