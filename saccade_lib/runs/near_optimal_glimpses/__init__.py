"""Rows of Near-Optimal Glimpse Sequences, one module a question."""

from saccade_lib.runs.near_optimal_glimpses import (
    designers,
    partial,
    posteriors,
    pupils,
    speed,
    worth,
)

ROWS = posteriors.ROWS | partial.ROWS | worth.ROWS | speed.ROWS
ROWS |= pupils.ROWS | designers.ROWS
