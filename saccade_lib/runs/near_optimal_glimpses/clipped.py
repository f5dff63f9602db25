"""A control: rows of Table 1 whose whole gradient is clipped, as in most of this book.

A mean of -log pi with weight 64 has a gradient far above norm 1, in the policy's layers
alone: a clip of all gradients together shortens the step of all other layers, in every
batch that is told something. The public code does not clip, and neither does Table 1.
"""

from dataclasses import replace

from saccade_lib.runs.near_optimal_glimpses import partial

NORM = 1.0


def rows() -> dict[str, dict]:
    found = {}
    for name in ("ram", "ps-nogs"):
        by_profile = partial.ROWS[f"{name}-digits"]
        found[f"{name}-clipped-digits"] = {
            profile: replace(run, schedule=replace(run.schedule, clip=NORM))
            for profile, run in by_profile.items()
        }
    return found


ROWS = rows()
