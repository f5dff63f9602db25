"""The ledger: each published cell beside what the recorded runs say about it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade_lib import session
from saccade_lib.records.cells import Cell, number, papers, published, verdict_kind
from saccade_lib.records.files import collect, of_row

KINDS = ("reproduced", "better", "short", "other data", "missing", "background")
HONEST = ("paper", "standard")  # best first; a quick run stands behind no number


ENOUGH = 3  # seeds that a spread takes


@dataclass(frozen=True)
class Recorded:
    """One metric of one row, over the seeds of one profile on one data source."""

    mean: float
    spread: float | None  # sample standard deviation over seeds; None for one seed
    unit: str
    seeds: tuple[int, ...]
    profile: str
    data_source: str
    hardware: str
    remarks: tuple[str, ...]  # what a reader must know before trusting the mean

    def text(self, decimals: int = 2) -> str:
        """ "95.12 ± 0.30 % (3 seeds, standard)"."""
        runs = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        shown = number(self.mean, decimals)
        if self.spread is not None:
            shown += f" ± {number(self.spread, decimals)}"
        return f"{shown} {self.unit}".rstrip() + f" ({runs}, {self.profile})"

    def __str__(self) -> str:
        return self.text()


def recorded(
    paper: str,
    row: str,
    metric: str,
    profile: str | None = None,
    data: Sequence[str] = (),
    root: Path | None = None,
) -> Recorded | None:
    """What the records say about one metric (or cost) of a row; None if nothing.

    The best profile is taken (``paper`` before ``standard``, never ``quick``, and one
    with three seeds before one with fewer) unless ``profile`` names one. Runs on one of
    the sources in ``data`` go before others.
    """
    profiles = (profile,) if profile else HONEST
    return summarise(of_row(paper, row, root), metric, profiles, data)


def by_row(root: Path | None = None) -> dict[tuple[str, str], list[dict]]:
    """All records, grouped by (paper, row)."""
    runs: dict[tuple[str, str], list[dict]] = {}
    for run in collect(root):
        runs.setdefault((run["paper"], run["row"]), []).append(run)
    return runs


def summarise(
    runs: list[dict], metric: str, profiles: Sequence[str], data: Sequence[str] = ()
) -> Recorded | None:
    """One metric over the runs of one row; ``profiles`` are allowed, best first."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        if run["profile"] in profiles and _quantity(run, metric):
            key = (run["profile"], run["data"]["source"])
            groups.setdefault(key, []).append(run)
    if not groups:
        return None

    def rank(key: tuple[str, str]) -> tuple:
        # Comparable data first; then what has a spread; then profile, then most seeds.
        profile, source = key
        few = len(groups[key]) < ENOUGH
        place = profiles.index(profile)
        return source not in data, few, place, -len(groups[key]), source

    profile, source = chosen = min(groups, key=rank)
    runs = groups[chosen]
    found = [_quantity(run, metric) for run in runs]
    units = {quantity["unit"] for quantity in found}
    if len(units) > 1:
        raise ValueError(
            f"{runs[0]['row']}: {metric} has several units: {sorted(units)}"
        )
    values = [quantity["value"] for quantity in found]
    others = sorted({s for p, s in groups if p == profile} - {source})
    return Recorded(
        mean=statistics.fmean(values),
        spread=statistics.stdev(values) if len(values) > 1 else None,
        unit=units.pop(),
        seeds=tuple(sorted(run["seed"] for run in runs)),
        profile=profile,
        data_source=source,
        hardware=" / ".join(sorted({_machine(run) for run in runs})),
        remarks=tuple(_remarks(runs, others)),
    )


def _quantity(run: dict, metric: str) -> dict | None:
    return run["metrics"].get(metric) or run["costs"].get(metric)


def _machine(run: dict) -> str:
    name, threads = run["hardware"]["name"], run["hardware"]["threads"]
    if run["hardware"]["device"] != "cpu":
        return name
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def _alike(one: object, other: object) -> bool:
    """Whether two configurations say the same where both say something.

    A field that came into the code later is missing from an older record, and one that
    was a yes or no may have become a name: off is off.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_alike(one[key], other[key]) for key in one.keys() & other.keys())
    return one == other or {repr(one), repr(other)} <= {"False", "''", "None"}


def _remarks(runs: list[dict], other_sources: list[str]) -> list[str]:
    """Why the seeds of one mean may not be alike."""
    found = []
    if other_sources:
        found.append(f"also recorded on {', '.join(other_sources)}, not averaged in")
    configs = [{k: v for k, v in r["config"].items() if k != "seed"} for r in runs]
    if not all(_alike(config, configs[0]) for config in configs):
        found.append("the seeds differ in configuration")
    if len({r["fingerprint"] for r in runs}) > 1:
        found.append("the seeds were made by different versions of the code")
    if len({_machine(r) for r in runs}) > 1:
        found.append("the seeds ran on different hardware")
    return found


def standing(cells: list[Cell], root: Path | None = None) -> list[Recorded | None]:
    """What is recorded for each cell.

    Raises ValueError where a record's unit is not the cell's.
    """
    runs, found = by_row(root), []
    for cell in cells:
        profiles = [p for p in HONEST if p in cell.profiles]
        of_row = runs.get((cell.paper, cell.record_row), [])
        summary = summarise(of_row, cell.record_metric, profiles, cell.data)
        if summary and summary.unit != cell.unit:
            raise ValueError(
                f"{cell.name} is printed in {cell.unit!r}, but {cell.record_row}"
                f" records {cell.record_metric} in {summary.unit!r}: use one unit"
            )
        found.append(summary)
    return found


def status(root: Path | None = None) -> list[dict]:
    """The ledger: one object a published cell, by paper and in the papers' order.

    ``recorded`` is the mean over ``seeds``, ``spread`` their sample standard deviation
    (null for one seed). ``value`` and ``recorded`` are in ``unit``.
    """
    cells = [cell for paper in papers(root) for cell in published(paper, root)]
    return [
        _entry(cell, summary)
        for cell, summary in zip(cells, standing(cells, root), strict=True)
    ]


def _entry(cell: Cell, summary: Recorded | None) -> dict:
    return {
        "paper": cell.paper,
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "value": cell.value,
        "unit": cell.unit,
        "recorded": summary.mean if summary else None,
        "spread": summary.spread if summary else None,
        "seeds": list(summary.seeds) if summary else [],
        "profile": summary.profile if summary else None,
        "hardware": summary.hardware if summary else None,
        "data_source": summary.data_source if summary else None,
        "verdict": verdict(cell, summary),
        "row_label": cell.row_label,
        "column_label": cell.column_label,
        "printed": cell.printed,
        "where": cell.where,
        "note": note(cell, summary),
    }


def verdict(cell: Cell, summary: Recorded | None) -> str:
    """The cell's verdict on what is recorded for it."""
    if summary is None:
        return cell.verdict(None)
    return cell.verdict(summary.mean, summary.data_source)


def note(cell: Cell, summary: Recorded | None) -> str:
    """What a reader must know about the printed number, then about the recorded one."""
    parts = ["Quoted by the paper from elsewhere."] if cell.quoted else []
    parts += [cell.note.strip()] if cell.note else []
    parts += (
        [f"Recorded: {'; '.join(summary.remarks)}."]
        if summary and summary.remarks
        else []
    )
    return " ".join(parts)


def progress(root: Path | None = None) -> dict[str, dict[str, int]]:
    """For each paper, how many cells have which kind of verdict, and their total.

    Kinds: reproduced, better, short (with "off by"), other data, missing, background.
    """
    counts = {paper: Counter() for paper in papers(root)}
    for entry in status(root):
        counts[entry["paper"]][verdict_kind(entry["verdict"])] += 1
    return {
        paper: {kind: found[kind] for kind in KINDS} | {"total": found.total()}
        for paper, found in counts.items()
    }


def by_seed(
    paper: str, row: str, metric: str, profile: str, root: Path | None = None
) -> dict[int, float]:
    """One metric (or cost) of a row by seed, in order; empty without a record of it.

    Rows of one family share their images at a seed, so that two of them are compared
    seed by seed. Raises ValueError for an unknown profile.
    """
    session.check_profile(profile)
    runs = [r for r in of_row(paper, row, root) if r["profile"] == profile]
    found = {run["seed"]: _quantity(run, metric) for run in runs}
    return {seed: found[seed]["value"] for seed in sorted(found) if found[seed]}


def curves(
    paper: str, row: str, profile: str, root: Path | None = None
) -> list[dict[str, list | int]]:
    """The training curves of each seed: {"seed": 0, "step": [...], ...}; may be empty.

    Raises ValueError for an unknown profile.
    """
    session.check_profile(profile)
    runs = [r for r in of_row(paper, row, root) if r["profile"] == profile]
    return [{"seed": run["seed"]} | run["curves"] for run in runs]
