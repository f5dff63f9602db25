"""What did not work, and what repairs it: the sampler with one choice changed a row.

Cluttered digits of 28 pixels on 128, read at so few pixels that the digit is five wide
when it is read evenly. All rows have the same images, steps and networks. The rows
`paper...` have the choices that the paper prints; each of them takes back one more,
until the sampler is left.
"""

from dataclasses import replace

from saccade_lib import zoom
from saccade_lib.runs.learning_to_zoom.classes import DIGITS
from saccade_lib.runs.learning_to_zoom.gaze import UNCLIPPED
from saccade_lib.runs.on_zoom import OnZoom

BASE = DIGITS.model  # the sampler
STRAIGHT = {"look": None}  # f_s sees as many pixels as f_t, as in the paper
BLUR = {"blur": 1 / 3}  # of the training; the paper's length is not printed
WIDE = {"share": zoom.PAPER_SHARE}
NARROW = {"share": 3 / zoom.CODE_CELLS}  # sigma of three cells
POINTS = {"prefilter": 1}
REPLICATE = {"padding": "replicate"}
FIVE = STRAIGHT | WIDE | BLUR | POINTS | REPLICATE

# What differs from the sampler, and how the tables call it.
ROWS_OF = {
    "sampler": ("the sampler", {}),
    "replicate": ("border replicated", REPLICATE),
    "points": ("single points", POINTS),
    "halved": ("averages over 2 × 2", {"prefilter": 2}),
    "wide": ("σ a third", WIDE),
    "narrow": ("σ three cells", NARROW),
    "sharp": ("temperature 0.1", {"temperature": 0.1}),
    "blur": ("blur", BLUR),
    "ratio-tenth": ("rate ratio 0.1", {"ratio": (0.1, 0.1)}),
    "ratio-code": ("rate ratios of the code", {"ratio": (0.001, 0.01)}),
    "unclipped": ("gradient not clipped", {"clip": UNCLIPPED}),
    "small-look": ("look at J's size", STRAIGHT),
    "sinkhorn": ("Sinkhorn", {"rounds": 20}),
    "narrow-sinkhorn": ("Sinkhorn, σ three cells", NARROW | {"rounds": 20}),
    "paper": ("the paper's five", FIVE),
    "paper-reflect": ("… border mirrored", STRAIGHT | WIDE | BLUR | POINTS),
    "paper-averages": ("… and averages", STRAIGHT | WIDE | BLUR),
    "paper-unblurred": ("… and no blur", STRAIGHT | WIDE),
    "uniform": ("read evenly", {"reader": "uniform"}),
    "uniform-points": ("evenly, points", {"reader": "uniform"} | POINTS),
    "oracle": ("oracle", {"reader": "oracle"}),
}
CONTROLS = ("read evenly", "evenly, points", "oracle")  # they learn no map
LABELS = {label: f"repair-{name}" for name, (label, _) in ROWS_OF.items()}


def rows() -> dict[str, dict[str, OnZoom]]:
    """``repair-NAME`` at `standard`, and at `quick` for a few steps."""
    long = replace(DIGITS.schedule, steps=600, validate_every=300)
    found = {}
    for name, (_, change) in ROWS_OF.items():
        of_model = {k: v for k, v in change.items() if k != "clip"}
        schedule = replace(long, clip=change.get("clip", long.clip))
        run = replace(DIGITS, model=replace(BASE, **of_model), schedule=schedule)
        run = replace(run, seeds=(0, 1, 2))
        steps = replace(run.schedule, steps=40, validate_every=40)
        small = {"schedule": steps, "seeds": (0,), "validation": 200, "test": 200}
        found[f"repair-{name}"] = {"quick": replace(run, **small), "standard": run}
    return found


ROWS = rows()
