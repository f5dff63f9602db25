"""What a notebook's second cell asks for: profile, seed, device, and where things are.

This is the lowest layer of the library. It imports nothing from the others, and torch
only inside the functions that need it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import psutil

from saccade_lib import __version__

if TYPE_CHECKING:
    import torch

PROFILES = ("quick", "standard", "paper")


@dataclass(frozen=True)
class Session:
    """The choices that a whole notebook shares."""

    profile: str
    seed: int
    device: torch.device
    threads: int
    root: Path


def start(
    profile: str = "quick", seed: int = 0, minutes: dict[str, str] | None = None
) -> Session:
    """Check the two parameters of a notebook, look around, and say what was found.

    ``minutes`` maps a profile to the minutes it takes, as text ("1", "40 on 2 cores").
    No random generator is seeded: pass ``session.seed`` to whatever draws.

    Raises ValueError for an unknown profile or a seed that is no integer >= 0.
    """
    check_profile(profile)
    check_seed(seed)
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    session = Session(profile, seed, device, torch.get_num_threads(), root())
    for line in _greeting(session, minutes or {}):
        print(line)
    return session


def check_profile(profile: str) -> None:
    """Raise ValueError unless ``profile`` is quick, standard or paper."""
    if profile not in PROFILES:
        known = ", ".join(PROFILES)
        raise ValueError(f"unknown profile {profile!r}: choose one of {known}")


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless the setting ``name`` has one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_seed(seed: int) -> None:
    """Raise ValueError unless ``seed`` is an integer >= 0 (a bool is not one)."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, for example 0; got {seed!r}")


def root() -> Path:
    """The book's folder: the one that holds ``_config.yml`` and ``book/published``.

    ``$SACCADE_BOOK`` names it outright. Otherwise the working directory and its parents
    are tried, then those of this file, so that a notebook uses the book it belongs to.

    Raises FileNotFoundError if there is none.
    """
    named = os.environ.get("SACCADE_BOOK")
    if named:
        folder = Path(named).expanduser().resolve()
        if _is_book(folder):
            return folder
        raise FileNotFoundError(
            f"SACCADE_BOOK={named} is not the book: it needs _config.yml and"
            " book/published; correct or unset the variable"
        )
    for start_at in (Path.cwd() / "here", Path(__file__).resolve()):
        for folder in start_at.parents:
            if _is_book(folder):
                return folder
    raise FileNotFoundError(
        "the book was not found: no folder from here upwards holds _config.yml and"
        " book/published; run inside the book, or set SACCADE_BOOK to its folder"
    )


def _is_book(folder: Path) -> bool:
    return (folder / "_config.yml").is_file() and (folder / "book/published").is_dir()


def _greeting(session: Session, minutes: dict[str, str]) -> list[str]:
    machine = hardware(session.device.type)
    installed = versions()
    threads = f"{session.threads} thread{'s' if session.threads > 1 else ''}"
    names = {"python": "Python", "torch": "torch", "saccade_lib": "saccade_lib"}
    shown = ", ".join(f"{names[key]} {installed[key]}" for key in names)
    lines = [
        f"profile   {session.profile}, seed {session.seed}",
        f"device    {machine['device']} ({machine['name']}), {threads}",
        f"versions  {shown}",
        f"data      {_data_at_a_glance()}",
    ]
    if minutes:
        known = minutes.get(session.profile, "not measured yet at this profile")
        lines.append(f"minutes   {known}")
    return lines


def _data_at_a_glance() -> str:
    """Names in the data folders, which are opened and checked only when used."""
    # The folders go by a reader's names for them: pages must not print private paths.
    places = {
        "$SACCADE_DATA": os.environ.get("SACCADE_DATA"),
        "the cache": os.environ.get("SACCADE_CACHE") or "~/.cache/saccade",
    }
    packs = {name: _packs(Path(path)) for name, path in places.items() if path}
    found = [f"{', '.join(packs[name])} in {name}" for name in packs if packs[name]]
    if packs.get("$SACCADE_DATA") == []:
        found.append("nothing in $SACCADE_DATA")
    return "; ".join(found) or "no packs found: downloads, or the built-in small digits"


def _packs(folder: Path) -> list[str]:
    try:
        entries = list(folder.expanduser().iterdir())
    except OSError:  # absent, not a folder, or not ours to read
        return []
    packs = {p.stem for p in entries if p.is_dir() or p.suffix == ".zip"}
    return sorted(name for name in packs if not name.startswith((".", "_")))


def hardware(device: str | None = None) -> dict:
    """What a run stands on, for its record.

    ``device`` is "cpu" or "cuda" (default: cuda if there is one). Keys: device, name
    (of the GPU, or of the processor), processor, cores (usable by this process),
    threads (of torch), memory_gib (main memory), gpus, and with a GPU gpu_memory_gib.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = device or ("cuda" if gpus else "cpu")
    found = {
        "device": device,
        "name": _processor(),
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus,
    }
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
        found |= {
            "name": gpu.name,
            "gpu_memory_gib": round(gpu.total_memory / 2**30, 1),
        }
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return next(filter(None, names), platform.processor() or platform.machine())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # a container may own fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python, this library and what numbers depend on, as installed."""
    found = {"python": platform.python_version(), "saccade_lib": __version__}
    for name in ("torch", "torchvision", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def commit() -> str:
    """The book's git commit, "+dirty" if ``saccade_lib`` differs; or "unknown"."""
    try:
        book = root()
        # A book unpacked inside some other repository has no commit of its own.
        if Path(_git(book, "rev-parse", "--show-toplevel")).resolve() != book:
            return "unknown"
        head = _git(book, "rev-parse", "--verify", "HEAD")
        changed = _git(book, "status", "--porcelain", "--", "saccade_lib")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+dirty" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def fingerprint(*sources: ModuleType | Path | str) -> str:
    """SHA-256 over the source text of modules, files, or folders of ``.py`` files.

    It depends on content and on file names, not on times, folders, order or line ends.

    Raises FileNotFoundError for a file that is not there, ValueError for no source.
    """
    files = sorted({path for source in sources for path in _source_files(source)})
    if not files:
        raise ValueError("fingerprint needs at least one module or source file")
    parts = []
    for path in files:
        text = path.read_text(encoding="utf-8")  # universal newlines: CRLF reads as LF
        parts.append(f"{path.name}\n{hashlib.sha256(text.encode()).hexdigest()}\n")
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()


def _source_files(source: ModuleType | Path | str) -> list[Path]:
    if isinstance(source, ModuleType):
        if not getattr(source, "__file__", None):
            raise ValueError(f"module {source.__name__} has no source file")
        path = Path(source.__file__)
        source = path.parent if path.name == "__init__.py" else path
    path = Path(source).resolve()
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    if not path.is_file():
        raise FileNotFoundError(f"no source file {path}")
    return [path]
