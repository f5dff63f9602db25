"""Rows of TNet, one module a question."""

from saccade_lib.runs.tnet import (
    appendix,
    beyond,
    counts,
    digits,
    photographs,
    satellite,
    speed,
)

ROWS = (
    counts.ROWS
    | appendix.ROWS
    | speed.ROWS
    | digits.ROWS
    | photographs.ROWS
    | satellite.ROWS
    | beyond.ROWS
)
