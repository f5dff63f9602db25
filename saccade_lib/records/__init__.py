"""Recorded runs, published cells, and what comes of setting one beside the other.

``make`` and ``write`` keep a run; ``load`` and ``collect`` read it back, checked.
``published`` gives a paper's printed numbers; ``status`` is the ledger of all of them.
``table`` and ``table_of_runs`` are what chapters show; ``recorded`` is one number, and
``paired`` the difference of two rows with what their seeds decide.
"""

from saccade_lib.records.cells import (
    Cell,
    heading,
    number,
    papers,
    published,
    verdict_kind,
)
from saccade_lib.records.files import (
    collect,
    digest,
    load,
    make,
    now,
    path_of,
    run_name,
    write,
)
from saccade_lib.records.ledger import (
    Recorded,
    by_seed,
    curves,
    progress,
    recorded,
    status,
)
from saccade_lib.records.pairs import Paired, paired
from saccade_lib.records.tables import Table, table, table_of_runs

__all__ = [
    "Cell",
    "Paired",
    "Recorded",
    "Table",
    "by_seed",
    "collect",
    "curves",
    "digest",
    "heading",
    "load",
    "make",
    "now",
    "number",
    "paired",
    "papers",
    "path_of",
    "progress",
    "published",
    "recorded",
    "run_name",
    "status",
    "table",
    "table_of_runs",
    "verdict_kind",
    "write",
]
