"""Rows of Variational Saccading, one module a table or appendix."""

from saccade_lib.runs.variational_saccading import (
    crops,
    large,
    on_disk,
    photographs,
    two_digits,
)

ROWS = two_digits.ROWS | crops.ROWS | large.ROWS | on_disk.ROWS | photographs.ROWS
