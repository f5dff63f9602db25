"""Rows of Near-Optimal Glimpse Sequences, one module a question."""

from saccade_lib.runs.near_optimal_glimpses import (
    clipped,
    convergence,
    designers,
    partial,
    posteriors,
    pupils,
    settings,
    speed,
    worth,
)

ROWS = (
    posteriors.ROWS
    | partial.ROWS
    | clipped.ROWS
    | worth.ROWS
    | speed.ROWS
    | convergence.ROWS
    | pupils.ROWS
    | designers.ROWS
    | settings.ROWS
)
