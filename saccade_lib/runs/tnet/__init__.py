"""Rows of TNet, one module a question."""

from saccade_lib.runs.tnet import counts, digits, photographs, satellite, speed

ROWS = counts.ROWS | speed.ROWS | digits.ROWS | photographs.ROWS | satellite.ROWS
