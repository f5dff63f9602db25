"""Rows of TNet, one module a question."""

from saccade_lib.runs.tnet import counts, speed

ROWS = counts.ROWS | speed.ROWS
