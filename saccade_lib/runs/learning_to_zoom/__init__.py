"""Rows of Learning to Zoom, one module a question."""

from saccade_lib.runs.learning_to_zoom import classes, settings

ROWS = classes.ROWS | settings.ROWS
