"""The one way in for data: found, checked, announced in one line, named in the record.

Tried in order: the folder `$SACCADE_DATA`; the book's own cache (`$SACCADE_CACHE`,
default `~/.cache/saccade`); a download, only if asked for (`download=True`, or
`SACCADE_DOWNLOAD=1`); for digits, the small real ones that scikit-learn carries.
Nothing is ever written into `$SACCADE_DATA`, which may be read-only.
"""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from saccade_lib.data.fetch import fetch_mnist
from saccade_lib.data.files import (
    CorruptData,
    DataError,
    MissingData,
    check_sum,
    data_files,
    fingerprint,
    new_folder,
    unzip,
)
from saccade_lib.data.manifest import MNIST, PACKS

__all__ = ["CorruptData", "DataError", "MissingData", "Pack", "Pictures", "find"]
__all__ += ["mnist", "pack", "roots", "verify"]

UNPACKED_LIMIT = 128 * 2**20  # bytes; the largest pack unpacks to 24 MiB


@dataclass(frozen=True, eq=False)
class Source:
    """Where data came from.

    Attributes:
        source: what they are: "mnist", "sklearn-digits" (a stand-in), or a pack's name.
        origin: "SACCADE_DATA", "cache", "download", "embedded" or "folder".
        sha256: of each file read; of the digits for the stand-in; the fingerprint of a
            pack of pictures.
        note: one line for people, without any path.
    """

    source: str
    origin: str
    sha256: dict[str, str]
    note: str

    def record(self) -> dict:
        """The `data` entry of a record."""
        return {"source": self.source, "sha256": self.sha256, "note": self.note}


@dataclass(frozen=True, eq=False)
class Pack(Source):
    """Handwritten digits in memory.

    Attributes:
        train_images, test_images: (N, 28, 28) uint8, ink is bright.
        train_labels, test_labels: (N,) int64, 0 to 9.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Pictures(Source):
    """A pack of picture files, unpacked in the folder `path`."""

    path: Path


Found = TypeVar("Found", bound=Source)


# ---------------------------------------------------------------- where to look


def cache() -> Path:
    """The folder that the book itself fills: `$SACCADE_CACHE` or `~/.cache/saccade`."""
    return Path(os.environ.get("SACCADE_CACHE") or "~/.cache/saccade").expanduser()


def roots(folder: str | Path | None = None, quiet: bool = False) -> dict[str, Path]:
    """Folders to look in, by origin, in order.

    With `folder` only that one. Raises MissingData if `folder` is not there; a
    `$SACCADE_DATA` that is not there is announced and passed over.
    """
    if folder is not None:
        if not Path(folder).is_dir():
            raise MissingData(f"no folder {folder}. Correct the path.")
        return {"folder": Path(folder)}
    found = {"cache": cache()}
    if named := os.environ.get("SACCADE_DATA"):
        found = {"SACCADE_DATA": Path(named).expanduser()} | found
        if not found["SACCADE_DATA"].is_dir():
            _say(f"SACCADE_DATA={named} is not a folder, looking further", quiet)
    return {origin: root for origin, root in found.items() if root.is_dir()}


def wants_download(download: bool | None) -> bool:
    """`download` if given, else whether `$SACCADE_DOWNLOAD` is set (and not 0)."""
    if download is not None:
        return download
    return os.environ.get("SACCADE_DOWNLOAD", "0").lower() not in ("", "0", "false")


def _say(line: str, quiet: bool) -> None:
    if not quiet:
        print(f"data: {line}")


_NAMES = {"SACCADE_DATA": "$SACCADE_DATA", "cache": "the cache"}
_NAMES |= {"download": "a fresh download", "folder": "the folder given"}


# ---------------------------------------------------------------- digits


def mnist(
    download: bool | None = None,
    quiet: bool = False,
    folder: str | Path | None = None,
) -> Pack:
    """MNIST (60,000 + 10,000 digits), or scikit-learn's 1,797 digits in its place.

    Reads `MNIST/raw/*.gz` (or the same files unpacked) as published, without
    unpacking. With `folder` only that folder is searched and there is no stand-in.

    Raises CorruptData for a damaged or wrong file, MissingData if a download was asked
    for and failed or `folder` has no MNIST. A stand-in never hides either.
    """
    for origin, root in roots(folder, quiet).items():
        files, missing = _mnist_files(root / "MNIST" / "raw")
        if not missing:
            return _announced(_read_mnist(files, origin), quiet)
        if origin == "folder":
            raise MissingData(f"no MNIST in {root}: {missing[0]}.gz is not there.")
        if origin == "SACCADE_DATA" or files:
            what = f"only a part of MNIST ({missing[0]} lacks)" if files else "no MNIST"
            _say(f"{what} in {_NAMES[origin]}, looking further", quiet)
    if wants_download(download):
        files, missing = _mnist_files(fetch_mnist(cache()))
        if missing:
            raise CorruptData(
                f"{cache() / 'MNIST'} is not whole. Remove it; run again."
            )
        return _announced(_read_mnist(files, "download"), quiet)
    return _announced(_embedded_digits(), quiet, " (set SACCADE_DATA, or `make data`)")


def _announced(found: Found, quiet: bool, advice: str = "") -> Found:
    _say(f"{found.note}{advice}", quiet)
    return found


def _mnist_files(raw: Path) -> tuple[dict[str, Path], list[str]]:
    """Files of MNIST by part, .gz before unpacked, and the names of those missing."""
    files, missing = {}, []
    for part, (name, *_) in MNIST.items():
        there = [path for path in (raw / f"{name}.gz", raw / name) if path.is_file()]
        if there:
            files[part] = there[0]
        else:
            missing.append(name)
    return files, missing


def _read_mnist(files: dict[str, Path], origin: str) -> Pack:
    sums, arrays = {}, {}
    for part, path in files.items():
        _, packed, unpacked = MNIST[part]
        arrays[part] = read_idx(path, packed if path.suffix == ".gz" else unpacked)
        sums[path.name] = packed if path.suffix == ".gz" else unpacked
    arrays["train_labels"] = arrays["train_labels"].astype(np.int64)
    arrays["test_labels"] = arrays["test_labels"].astype(np.int64)
    note = f"MNIST, 60,000 + 10,000 digits, 28x28, from {_NAMES[origin]}"
    return Pack("mnist", origin, sums, note, **arrays)


def read_idx(path: Path, expected: str) -> np.ndarray:
    """The uint8 array in an idx file, packed by gzip or not, of SHA-256 `expected`.

    The header is big-endian: 0, 0, 8 (uint8), number of axes, then each axis' length.
    Raises CorruptData for a wrong sum and for anything that is no whole idx file.
    """
    advice = "Put the published file there, or remove it and run `make data`."
    content = path.read_bytes()
    if (got := hashlib.sha256(content).hexdigest()) != expected:
        whole = "" if _is_whole_idx(path, content) else "Truncated or damaged. "
        raise CorruptData(
            f"{path}: wrong SHA-256.\n  expected {expected}\n  got      {got}\n"
            f"  {len(content):,} bytes. {whole}{advice}"
        )
    return _parse_idx(_plain(path, content)).copy()


def _plain(path: Path, content: bytes) -> bytes:
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _parse_idx(content: bytes) -> np.ndarray:
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError("no idx header")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _is_whole_idx(path: Path, content: bytes) -> bool:
    try:
        _parse_idx(_plain(path, content))
    except (OSError, EOFError, ValueError, zlib.error):
        return False
    return True


def _embedded_digits() -> Pack:
    """UCI optdigits' test part (scikit-learn), 8x8 brought to 28x28, split 1,347 + 450.

    Every fourth digit of each class is a test digit. Writers are not kept apart: the
    file does not name them. Good for machinery, not for a paper's number.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    eight, labels = load_digits(return_X_y=True)
    images = np.zeros((len(eight), 28, 28), np.uint8)
    for image, values in zip(images, eight.reshape(-1, 8, 8), strict=True):
        small = Image.fromarray(np.float32(values) / 16)
        glyph = np.asarray(small.resize((20, 20), Image.Resampling.BICUBIC))
        # MNIST's strokes are thin, with a margin of 4 pixels: sharpen, then centre.
        image[4:24, 4:24] = np.rint(255 * np.clip(2 * glyph - 0.5, 0, 1))
    labels = labels.astype(np.int64)
    order = np.argsort(labels, kind="stable")
    test = np.zeros(len(labels), bool)
    test[order[::4]] = True
    digest = hashlib.sha256(eight.astype(np.uint8).tobytes()).hexdigest()
    note = "scikit-learn's 1,797 digits, 8x8 brought to 28x28: a stand-in for MNIST"
    return Pack(
        source="sklearn-digits",
        origin="embedded",
        sha256={"digits-8x8-uint8": digest},
        note=note,
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
    )


# ---------------------------------------------------------------- packs of pictures


def pack(name: str, quiet: bool = False, folder: str | Path | None = None) -> Path:
    """Folder of an unpacked pack, `pack("natural-caltech25") / "natural" / "train"`.

    Raises MissingData where it is nowhere, CorruptData where it is damaged.
    """
    return find(name, quiet, folder).path


def find(name: str, quiet: bool = False, folder: str | Path | None = None) -> Pictures:
    """A pack of pictures by its name in `PACKS`, as a folder NAME or as NAME.zip.

    A zip is checked, then unpacked once into the cache. Every use checks the files.
    """
    if name not in PACKS:
        raise DataError(f"unknown pack {name!r}; known: {', '.join(PACKS)}.")
    for origin, root in roots(folder, quiet).items():
        if (root / name).is_dir():
            return _announced(_checked(name, root / name, origin), quiet)
        if (root / f"{name}.zip").is_file():
            unpacked = _unpacked(name, root / f"{name}.zip")
            return _announced(_checked(name, unpacked, origin), quiet)
        if origin == "SACCADE_DATA":
            _say(f"no {name} in $SACCADE_DATA, looking further", quiet)
    raise MissingData(
        f"{name} was not found. Set SACCADE_DATA to a folder that holds {name}.zip, "
        "or build it from its public original with `make data` (only this pack: "
        f"`python -m saccade_lib.data.packs {name.split('-')[0]}`)."
    )


def _unpacked(name: str, archive: Path) -> Path:
    final = cache() / name
    if not final.is_dir():
        check_sum(archive, PACKS[name].zip_sha256, "Fetch it again, or `make data`.")
        with new_folder(final) as partial:
            if partial:
                unzip(archive, partial, UNPACKED_LIMIT)
    return final


def _checked(name: str, folder: Path, origin: str) -> Pictures:
    advice = "Remove this folder, then run again or `make data`."
    got, remark = verify(name, folder, advice)
    note = f"{name}, {PACKS[name].files:,} files, from {_NAMES[origin]}{remark}"
    return Pictures(name, origin, {name: got}, note, folder)


def verify(name: str, folder: Path, advice: str) -> tuple[str, str]:
    """Fingerprint of a pack's folder, and a remark where it differs as it may.

    Raises CorruptData, with `advice`, where it is not the recorded pack.
    """
    expected = PACKS[name]
    got, names = fingerprint(folder), data_files(folder)
    if got == expected.fingerprint:
        return got, ""
    same_names = hashlib.sha256("\n".join(names).encode()).hexdigest() == expected.names
    if same_names and not expected.unchanged and got == _built_here(folder):
        return got, " (encoded here: sizes as recorded, pixels may differ slightly)"
    raise CorruptData(
        f"{folder}: not the recorded pack.\n"
        f"  expected fingerprint {expected.fingerprint}, {expected.files:,} files\n"
        f"  got      fingerprint {got}, {len(names):,} files\n  {advice}"
    )


def _built_here(folder: Path) -> str:
    """The fingerprint that `packs.make` noted when it encoded this pack; "" without."""
    note = folder / ".fingerprint"
    return note.read_text().strip() if note.is_file() else ""
