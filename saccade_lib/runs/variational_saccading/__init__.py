"""Rows of Variational Saccading, one module a table, figure or appendix."""

from saccade_lib.runs.variational_saccading import (
    ablations,
    as_released,
    battlefield,
    battlefield_data,
    convergence,
    crops,
    large,
    on_disk,
    photographs,
    recurrent,
    settings,
    two_digits,
)

ROWS = (
    two_digits.ROWS
    | crops.ROWS
    | large.ROWS
    | on_disk.ROWS
    | photographs.ROWS
    | battlefield.ROWS
    | battlefield_data.ROWS
    | ablations.ROWS
    | as_released.ROWS
    | recurrent.ROWS
    | settings.ROWS
    | convergence.ROWS
)
