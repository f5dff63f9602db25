"""Files on disk: check sums, safe unpacking, folders that appear whole or never."""

import contextlib
import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath


class DataError(RuntimeError):
    """Something about data on disk stops the work; the text says what to do."""


class MissingData(DataError):
    """The data asked for are nowhere to be found."""


class CorruptData(DataError):
    """A file is there but is not what it should be."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folder: Path) -> str:
    """SHA-256 over the sorted names and bytes of the files below `folder`.

    Unlike the sum of an archive it does not depend on how the files were packed. Texts
    that only describe (README.txt, LICENSES.txt) and hidden files are left out.
    """
    total = hashlib.sha256()
    for name in data_files(folder):
        total.update(f"{sha256(Path(folder) / name)}  {name}\n".encode())
    return total.hexdigest()


def data_files(folder: Path) -> list[str]:
    """Sorted names, relative to `folder`, of the files that `fingerprint` reads."""
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in found)
    words = ("README.txt", "LICENSES.txt")
    return sorted(
        name
        for name in names
        if name.rpartition("/")[2] not in words and not name.startswith(".")
    )


def check_sum(path: Path, expected: str, advice: str) -> None:
    """Raise CorruptData unless `path` has the SHA-256 `expected`."""
    got = sha256(path)
    if got != expected:
        raise CorruptData(
            f"{path}: wrong SHA-256.\n  expected {expected}\n  got      {got}\n"
            f"  {path.stat().st_size:,} bytes. {advice}"
        )


@contextlib.contextmanager
def new_folder(final: Path) -> Iterator[Path | None]:
    """Fill a temporary folder that becomes `final` in one step, or not at all.

    Yields the folder to fill, or None where `final` is there already. A lock makes a
    second process wait; whatever a killed process left behind is removed.
    """
    from filelock import FileLock  # comes with torch

    partial = final.with_name(f".{final.name}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(final.with_name(f".{final.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"cannot write to {final.parent} ({error.strerror or error}). "
            "Set SACCADE_CACHE to a folder that can be written."
        ) from error
    try:
        shutil.rmtree(partial, ignore_errors=True)
        if final.exists():
            yield None
        else:
            partial.mkdir()
            yield partial
            os.rename(partial, final)
    except OSError as error:  # a full disk, say
        raise DataError(
            f"{final} could not be made: {error}. Nothing was kept."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def unzip(
    archive: Path,
    folder: Path,
    limit: int,
    keep: Callable[[str], bool] = lambda name: True,
) -> None:
    """Unpack the files of a zip whose names pass `keep` into `folder`.

    Raises CorruptData, with nothing trusted, on a name that leaves the folder, a link
    or another special file, more than `limit` bytes unpacked, or a damaged archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if keep(info.filename)]
            for info in members:
                _refuse_unsafe(archive, info)
            size = sum(info.file_size for info in members)
            if size > limit:
                raise CorruptData(
                    f"{archive}: would unpack to {size:,} bytes; at most {limit:,} "
                    "were expected. Not unpacked."
                )
            for info in members:  # zipfile never yields more than the size declared
                opened.extract(info, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CorruptData(
            f"{archive}: not a whole zip file ({error}). Fetch it again."
        ) from error


def _refuse_unsafe(archive: Path, info: zipfile.ZipInfo) -> None:
    name, windows = PurePosixPath(info.filename), PureWindowsPath(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if (
        name.is_absolute()
        or windows.drive
        or windows.root
        or ".." in windows.parts
        or kind not in (0, stat.S_IFREG, stat.S_IFDIR)
        or info.flag_bits & 1
    ):
        raise CorruptData(
            f"{archive}: refuses to unpack {info.filename!r}, which is a link, "
            "encrypted, or outside the folder. Nothing was unpacked; do not trust it."
        )
