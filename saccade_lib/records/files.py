"""Recorded runs on disk: made, checked, written and read by this file alone.

A record is a dict as ``saccade_lib/record.schema.json`` describes it, kept in
``book/records/PAPER/ROW--PROFILE--SEED.json``. Its digest is the SHA-256 over the
canonical JSON of everything else, so that a number changed by hand is found on load.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from saccade_lib import session
from saccade_lib.records import schema


def make(
    *,
    paper: str,
    row: str,
    profile: str,
    seed: int,
    config: Any,
    data: dict,
    metrics: dict,
    fingerprint: str,
    command: str,
    started: str,
    wall_seconds: float,
    curves: dict | None = None,
    costs: dict | None = None,
    hardware: dict | None = None,
    versions: dict | None = None,
    commit: str | None = None,
) -> dict:
    """A complete record, checked against the schema and sealed with its digest.

    ``config`` is a dict or a dataclass. ``data`` is {"source", "sha256": {file: sum},
    "note"}. ``metrics`` and ``costs`` map a name to {"value": number, "unit": text};
    ``curves`` maps names to equally long lists. ``started`` is what ``now()`` gave.
    Hardware, versions and commit are looked up in ``session`` unless given.

    Raises ValueError naming the field that is wrong.
    """
    record = {
        "schema": 1,
        "paper": paper,
        "row": row,
        "profile": profile,
        "seed": seed,
        "config": config,
        "data": data,
        "metrics": metrics,
        "curves": curves or {},
        "costs": costs or {},
        "hardware": hardware or session.hardware(),
        "versions": versions or session.versions(),
        "commit": commit or session.commit(),
        "fingerprint": fingerprint,
        "command": command,
        "started": started,
        "wall_seconds": wall_seconds,
    }
    return _sealed(record, "new record")


def now() -> str:
    """The time in UTC, as a record's ``started`` wants it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_name(record: dict) -> str:
    """``row--profile--seed``: the name of a run, and of its file."""
    return f"{record['row']}--{record['profile']}--{record['seed']}"


def path_of(record: dict, root: Path | None = None) -> Path:
    """Where a record lies in the book; small weights lie beside it (.safetensors)."""
    return _folder(root) / record["paper"] / f"{run_name(record)}.json"


def digest(record: dict) -> str:
    """SHA-256 over the canonical JSON (sorted keys, no spaces) of all else."""
    rest = {key: value for key, value in record.items() if key != "digest"}
    text = json.dumps(
        rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def write(record: dict, root: Path | None = None, replace: bool = False) -> Path:
    """Write a record whole or not at all, and return its path.

    ``root`` is the book's folder (default: ``session.root()``). A record without a
    digest is sealed first; one whose digest no longer fits is refused.

    Raises ValueError for a wrong record, FileExistsError if the run is already recorded
    and ``replace`` is false, OSError if the disk takes no more. An error leaves an
    older record as it was, and no partial file.
    """
    record = _sealed(record, "record to write")
    path = path_of(record, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(part, "x", encoding="utf-8", newline="\n") as file:
            file.write(_as_text(record))
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(part, path, replace)
    except FileExistsError as error:
        raise FileExistsError(
            f"{path} is recorded already; move it away to record it anew, or pass"
            " replace=True"
        ) from error
    except OSError as error:
        message = f"record not written, nothing changed: {error.strerror}"
        raise OSError(error.errno, message, str(path)) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _put_in_place(part: Path, path: Path, replace: bool) -> None:
    if replace:
        os.replace(part, path)
        return
    try:
        os.link(part, path)  # unlike a rename, a link never overwrites: one writer wins
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: look first, then rename
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(part, path)


def load(path: Path | str) -> dict:
    """Read one record and check its schema, its digest and its file name.

    Raises FileNotFoundError, or ValueError naming the file, the field and the fault.
    """
    path = Path(path)
    text = path.read_bytes()
    _check_file(path, text)
    return json.loads(text)


@cache  # by content: a table looks the same records up many times
def _check_file(path: Path, text: bytes) -> None:
    try:
        record = json.loads(
            text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant
        )
    except ValueError as error:  # broken JSON, broken UTF-8, a key twice, NaN
        raise ValueError(
            f"{path} is not a whole record ({error}): restore it, or make the run again"
        ) from error
    _check(record, str(path))
    name = f"{record['paper']}/{run_name(record)}.json"
    if f"{path.parent.name}/{path.name}" != name:
        raise ValueError(f"{path} holds the run {name}: file and content must agree")


def collect(root: Path | None = None) -> list[dict]:
    """Every record of the book, by paper, row, profile and seed.

    Raises ValueError for the first record that fails its checks.
    """
    found = [load(path) for path in _folder(root).glob("*/*.json") if _visible(path)]
    return sorted(found, key=lambda r: (r["paper"], r["row"], r["profile"], r["seed"]))


def of_row(paper: str, row: str, root: Path | None = None) -> list[dict]:
    """Records of one row, by profile and seed, reading no other files.

    Raises ValueError for the first that fails its checks.
    """
    found = [load(path) for path in (_folder(root) / paper).glob(f"{row}--*.json")]
    found = [record for record in found if record["row"] == row]  # row may hold a *
    return sorted(found, key=lambda r: (r["profile"], r["seed"]))


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _folder(root: Path | None) -> Path:
    return Path(root or session.root()) / "book" / "records"


def _sealed(record: dict, name: str) -> dict:
    """The record as plain JSON values, with its digest, checked."""
    record = json.loads(json.dumps(record, default=_plain))
    _check_finite(record, name)
    record.setdefault("digest", digest(record))
    _check(record, name)
    return record


def _plain(value: Any) -> Any:
    """JSON for what is not: configs, paths, NumPy and torch numbers and arrays."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ValueError(f"a record cannot hold {value!r} of type {type(value).__name__}")


def _check(record: Any, name: str) -> None:
    schema.check(record, "record.schema.json", name)
    if not record["metrics"] and not record["costs"]:
        raise ValueError(f"{name}: metrics and costs are both empty; record a number")
    session.check_seed(record["seed"])  # 1.0 is an integer to JSON, not to a file name
    _check_finite(record, name)
    lengths = {key: len(curve) for key, curve in record["curves"].items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name}: curves differ in length: {lengths}; fill with null")
    if record["digest"] != digest(record):
        raise ValueError(
            f"{name}: the digest does not match the content, so it was changed after it"
            " was made: restore the record, or make the run again"
        )


def _check_finite(value: Any, name: str, field: str = "") -> None:
    """Raise ValueError naming the first NaN or infinity anywhere in the record."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: {field} is {value}; a record holds finite numbers")
    children = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        _check_finite(child, name, f"{field}.{key}" if field else str(key))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key stands twice among {keys}")
    return dict(pairs)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _as_text(record: dict) -> str:
    """JSON with one line an entry, two levels deep: short files and readable diffs."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    entries = []
    for key, value in record.items():
        text = line(value)
        if isinstance(value, dict) and len(text) > 60:
            inner = ",\n".join(f"  {line(k)}: {line(v)}" for k, v in value.items())
            text = f"{{\n{inner}\n }}"
        entries.append(f" {line(key)}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}\n"
