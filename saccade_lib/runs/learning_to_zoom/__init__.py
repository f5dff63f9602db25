"""Rows of Learning to Zoom, one module a question."""

from saccade_lib.runs.learning_to_zoom import settings

ROWS = settings.ROWS
