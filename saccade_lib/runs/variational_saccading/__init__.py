"""Rows of Variational Saccading, one module a table or appendix."""

from saccade_lib.runs.variational_saccading import two_digits

ROWS = two_digits.ROWS
