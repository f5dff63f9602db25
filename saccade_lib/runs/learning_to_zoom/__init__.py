"""Rows of Learning to Zoom, one module a question."""

from saccade_lib.runs.learning_to_zoom import gaze, settings

ROWS = settings.ROWS | gaze.ROWS
