"""A control: rows of Table 1 whose gradients are not clipped.

`train.fit` clips the whole gradient at norm 1, and a mean of -log pi with weight 64 has
a norm far above it, in the policy's layers alone: with it the step of all other layers
is shortened, in batches that are told something. The public code does not clip.
"""

from dataclasses import replace

from saccade_lib.runs.near_optimal_glimpses import partial

NEVER = 1e9  # a norm that no gradient has


def rows() -> dict[str, dict]:
    found = {}
    for name in ("ram", "ps-nogs"):
        by_profile = partial.ROWS[f"{name}-digits"]
        found[f"{name}-unclipped-digits"] = {
            profile: replace(run, schedule=replace(run.schedule, clip=NEVER))
            for profile, run in by_profile.items()
        }
    return found


ROWS = rows()
