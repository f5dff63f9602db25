"""A tiny book with records of made-up numbers, for the tests of records."""

import yaml

from saccade_lib import records

ENTRY = {
    "table": "table-1",
    "row": "full",
    "row_label": "the <full> model",
    "column": "accuracy",
    "column_label": "accuracy | top 1",
    "value": 90.5,
    "printed": "90.5 ± 0.2",
    "unit": "%",
    "where": "Table 1",
    "compare": {"better": "higher", "tolerance": 0.5},
    "data": ["mnist"],
    "record": {"row": "toy", "metric": "test_accuracy"},
}


def found_book(folder, monkeypatch):
    """Make ``folder`` the book: one paper with four cells, and no records."""
    (folder / "_config.yml").touch()
    monkeypatch.setenv("SACCADE_BOOK", str(folder))
    time = {"column": "time", "column_label": "time per epoch", "value": 37}
    time |= {"printed": "37 s", "unit": "s/epoch", "data": [], "profiles": ["paper"]}
    time |= {"compare": {"better": "lower", "tolerance": 0.5}}
    time |= {"record": {"row": "toy", "metric": "seconds_per_epoch"}, "note": "Timed."}
    quoted = {k: v for k, v in ENTRY.items() if k != "record"}
    quoted |= {"row": "theirs", "row_label": "theirs", "quoted": True}
    publish(folder, [ENTRY, ENTRY | time, quoted, ENTRY | {"table": "figure-4"}])
    return folder


def publish(book, cells):
    """Write the published cells of the one paper."""
    page = {"paper": "tnet", "title": "A Title", "authors": "A", "venue": "V"}
    page |= {"year": 2021, "cells": cells}
    path = book / "book" / "published" / "tnet.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(page), encoding="utf-8")
    return path


def made(accuracy=90.0, seconds=40.0, **changed):
    """A good record, but for what is changed."""
    quantities = {"test_accuracy": {"value": accuracy, "unit": "%"}}
    fields = {
        "paper": "tnet",
        "row": "toy",
        "profile": "standard",
        "seed": 0,
        "config": {"sizes": [8, 16], "seed": 0, "name": "é"},
        "data": {"source": "mnist", "sha256": {"a.gz": "0" * 64}},
        "metrics": quantities,
        "curves": {"step": [0, 10], "validation_accuracy": [None, 88.25]},
        "costs": {"seconds_per_epoch": {"value": seconds, "unit": "s/epoch"}},
        "hardware": {
            "device": "cpu",
            "name": "A processor",
            "cores": 2,
            "threads": 1,
            "memory_gib": 8,
        },
        "versions": {"python": "3.11"},
        "commit": "unknown",
        "fingerprint": "1" * 64,
        "command": "make record RUN=toy--standard--0",
        "started": "2026-01-02T03:04:05Z",
        "wall_seconds": 12.5,
    }
    return records.make(**fields | changed)


def record_all(*changes):
    """Write one record for each dict of changes."""
    for change in changes:
        records.write(made(**change))
