"""Published cells: every number that a paper prints, and how to compare with it.

They are kept by hand in ``book/published/PAPER.yml``, one file a paper, in the form
that ``saccade_lib/published.schema.json`` describes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from saccade_lib import session
from saccade_lib.records import schema

BETTER = "better"
REPRODUCED = "reproduced"
OTHER_DATA = "other data"
MISSING = "missing"
BACKGROUND = "background"


@dataclass(frozen=True)
class Cell:
    """One printed number. ``record_row`` is None while no run is planned for it."""

    paper: str
    table: str
    row: str
    row_label: str
    column: str
    column_label: str
    value: float
    printed: str
    spread: float | None
    unit: str
    where: str
    better: str  # higher, lower or equal
    tolerance: float  # in the cell's unit
    data: tuple[str, ...]  # comparable data sources; empty: the number needs no data
    record_row: str | None = None
    record_metric: str | None = None
    profiles: tuple[str, ...] = session.PROFILES
    quoted: bool = False
    background: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.paper}, {self.table}, {self.row}, {self.column}"

    def verdict(self, recorded: float | None, data_source: str | None = None) -> str:
        """How a recorded number (in the cell's unit) stands to the printed one.

        ``reproduced`` within the tolerance, its edge included; ``better`` beyond it on
        the good side; ``short by X unit`` beyond it on the other, X being the distance
        to the printed value; ``off by X unit`` where any distance counts as bad;
        ``other data`` if the number was made on data that makes it incomparable;
        ``missing`` for None, or ``background`` where no run could give the number.
        """
        if recorded is None:
            return BACKGROUND if self.background else MISSING
        if self.data and data_source not in self.data:
            return OTHER_DATA
        gap = recorded - self.value
        # Sums of decimals are rarely exact: the edge gets a rounding error's width.
        width = 1e-9 * max(abs(self.value), abs(recorded))
        if abs(gap) <= self.tolerance + width:
            return REPRODUCED
        distance = f"{number(abs(gap), self.decimals)} {self.unit}".rstrip()
        if self.better == "equal":
            return f"off by {distance}"
        return (
            BETTER if (gap > 0) == (self.better == "higher") else f"short by {distance}"
        )

    @property
    def decimals(self) -> int:
        """Decimals in which to show a number beside this one."""
        return max(_decimals(self.value), _decimals(self.tolerance))


def verdict_kind(verdict: str) -> str:
    """``reproduced``, ``better``, ``short``, ``other data``, ``missing`` or
    ``background``."""
    return "short" if verdict.startswith(("short by", "off by")) else verdict


def number(value: float, decimals: int = 2) -> str:
    """A number with so many decimals, or more where two digits would not show.

    >>> number(95.123, 2), number(0.0123, 1), number(12.0, 0), number(4e-7, 2)
    ('95.12', '0.012', '12', '4e-07')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:.{decimals}f}"
    if abs(value) < 1e-4:
        return f"{value:.2g}"
    digits_needed = 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(decimals, digits_needed)}f}"


def _decimals(value: float) -> int:
    tail = re.search(r"\.(\d*[1-9])0*$", f"{value:.6f}")
    return len(tail[1]) if tail else 0


def papers(root: Path | None = None) -> list[str]:
    """The papers whose numbers the book keeps, by name."""
    return sorted(path.stem for path in _folder(root).glob("*.yml"))


def heading(paper: str, root: Path | None = None) -> dict:
    """A paper's title, authors, venue and year."""
    page = _page(paper, root)
    return {key: page[key] for key in ("title", "authors", "venue", "year")}


def published(paper: str, root: Path | None = None) -> list[Cell]:
    """Every published cell of a paper, in the order of its file.

    Raises ValueError for an unknown paper, a field that breaks the schema, or a cell
    (table, row, column) that stands twice.
    """
    return [_cell(paper, entry) for entry in _page(paper, root)["cells"]]


def _cell(paper: str, entry: dict) -> Cell:
    plain = {k: v for k, v in entry.items() if k not in ("compare", "record")}
    record = entry.get("record", {})
    return Cell(
        **plain
        | entry["compare"]
        | {
            "paper": paper,
            "spread": entry.get("spread"),
            "data": tuple(entry["data"]),
            "profiles": tuple(entry.get("profiles", session.PROFILES)),
            "record_row": record.get("row"),
            "record_metric": record.get("metric"),
        }
    )


def _folder(root: Path | None) -> Path:
    return Path(root or session.root()) / "book" / "published"


def _page(paper: str, root: Path | None) -> dict:
    known = papers(root)
    if paper not in known:
        raise ValueError(f"unknown paper {paper!r}: choose one of {', '.join(known)}")
    path = _folder(root) / f"{paper}.yml"
    return _read(path, path.stat().st_mtime_ns, path.stat().st_size)


@cache  # the time and the size are in the key, so that an edited file is read again
def _read(path: Path, _time: int, _size: int) -> dict:
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        page = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    schema.check(page, "published.schema.json", str(path))
    if page["paper"] != path.stem:
        raise ValueError(f"{path} says paper: {page['paper']}; file and content differ")
    places = Counter((c["table"], c["row"], c["column"]) for c in page["cells"])
    twice = [" / ".join(place) for place, times in places.items() if times > 1]
    if twice:
        raise ValueError(f"{path}: a cell stands twice: {', '.join(twice)}")
    return page
