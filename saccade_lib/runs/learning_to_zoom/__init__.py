"""Rows of Learning to Zoom, one module a question."""

from saccade_lib.runs.learning_to_zoom import (
    classes,
    gains,
    gaze,
    repairs,
    settings,
)

ROWS = gaze.ROWS | classes.ROWS | repairs.ROWS | gains.ROWS | settings.ROWS
