"""What did not work, and what repairs it: the sampler with one choice changed a row.

All rows stand beside `classes`' sampler on cluttered digits: the same images, steps
and networks. `PAPER` has the choices that the paper prints; the rows after it take
them back one by one until the sampler of the other rows is left.
"""

from dataclasses import replace

from saccade_lib import zoom
from saccade_lib.runs.learning_to_zoom.classes import DIGITS
from saccade_lib.runs.on_zoom import OnZoom

BASE = DIGITS.model  # the sampler
STRAIGHT = dict(look=None)  # f_s sees as many pixels as f_t, as in the paper
PAPER = STRAIGHT | dict(
    share=zoom.PAPER_SHARE, padding="replicate", prefilter=1, blur=1 / 3
)
NARROW = 3 / zoom.CODE_CELLS  # sigma of three cells

# What differs from the sampler.
CHANGES = {
    "replicate": dict(padding="replicate"),
    "points": dict(prefilter=1),
    "halved": dict(prefilter=2),
    "small-look": STRAIGHT,
    "wide": dict(share=zoom.PAPER_SHARE),
    "sharp": dict(temperature=0.1),
    "blur": dict(blur=1 / 3),
    "ratio-tenth": dict(ratio=(0.1, 0.1)),
    "ratio-code": dict(ratio=(0.001, 0.01)),
    "sinkhorn": dict(rounds=20),
    "narrow": dict(share=NARROW),
    "narrow-sinkhorn": dict(share=NARROW, rounds=20),
}
# From the paper's choices back to the sampler's: each row takes back one more.
LADDER = {
    "paper": PAPER,
    "paper-reflect": PAPER | dict(padding="reflect"),
    "paper-averages": PAPER | dict(padding="reflect", prefilter=None),
    "paper-unblurred": STRAIGHT | dict(share=zoom.PAPER_SHARE),
}


def rows() -> dict[str, dict[str, OnZoom]]:
    """A row for each change, ``repair-NAME``."""
    found = {}
    for name, change in (CHANGES | LADDER).items():
        run = replace(DIGITS, model=replace(BASE, **change))
        steps = replace(run.schedule, steps=30, validate_every=30)
        small = dict(schedule=steps, seeds=(0,), validation=200, test=200)
        found[f"repair-{name}"] = {"quick": replace(run, **small), "standard": run}
    return found


ROWS = rows()
