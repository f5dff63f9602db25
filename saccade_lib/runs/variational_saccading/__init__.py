"""Rows of Variational Saccading, one module a table or appendix."""

from saccade_lib.runs.variational_saccading import (
    battlefield,
    battlefield_data,
    crops,
    large,
    on_disk,
    two_digits,
)

ROWS = (
    two_digits.ROWS
    | crops.ROWS
    | large.ROWS
    | on_disk.ROWS
    | battlefield.ROWS
    | battlefield_data.ROWS
)
