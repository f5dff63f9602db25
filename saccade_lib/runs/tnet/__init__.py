"""Rows of TNet, one module a question."""

from saccade_lib.runs.tnet import digits, photographs

ROWS = digits.ROWS | photographs.ROWS
