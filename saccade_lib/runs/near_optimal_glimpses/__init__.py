"""Rows of Near-Optimal Glimpse Sequences, one module a question."""

from saccade_lib.runs.near_optimal_glimpses import (
    convergence,
    partial,
    posteriors,
    speed,
    unclipped,
    worth,
)

ROWS = (
    posteriors.ROWS
    | partial.ROWS
    | unclipped.ROWS
    | worth.ROWS
    | speed.ROWS
    | convergence.ROWS
)
