"""TNet on cluttered digits: a task that only looking solves, small enough for a CPU.

A canvas of 132 pixels holds one digit of 28 pixels and pieces of other digits. Read at
45 pixels, as TNet's first level does, a digit is under 10 pixels wide and strokes fall
between the pixels that are kept; each of the 5 x 5 cells shows 45 of the canvas's own.
So the network is the paper's in small: base over image, cell over image and the added
row and column are in the same proportion (`tnet.mini`).

Beside the learned places stand random ones, the centre and the true place; eq. 1 in the
place of eq. 2; and the feature extraction on the whole canvas, as in Table 1. The
paper's practice alone starts late on so few canvases, since a reward says nothing
before the classifier knows digits: in `shown` the true cells are read in the first 40 %
of training, and the location module has the rest to learn them; `longer` has twice the
steps and no such help.
"""

from dataclasses import replace

from saccade_lib.models import tnet
from saccade_lib.runs.on_traversal import OnDigitCells
from saccade_lib.runs.tnet.recipe import rivals
from saccade_lib.train import Schedule

GAIN = 1.4  # with Xavier's 1 nothing was learned in 500 steps
MODEL = tnet.mini(10, channels=1, base=45, gain=GAIN)
STEPS = Schedule(
    steps=1_500,
    batch=64,
    rate=3e-3,
    decay=0.5,
    validate_every=150,
    precision="bfloat16",
)
QUICK = replace(STEPS, steps=24, batch=32, validate_every=12)
RUN = OnDigitCells(
    "single",
    model=MODEL,
    schedule=STEPS,
    side=132,
    clutter=4,
    validation=400,
    test=2_000,
)


def rows() -> dict[str, dict[str, OnDigitCells]]:
    """One row a model; all see the same canvases for the same number of steps."""
    found = {}
    for name, model in rivals(MODEL).items():
        run = replace(RUN, model=model)
        quick = replace(run, schedule=QUICK, seeds=(0,), validation=100, test=200)
        found[f"{name}-digits"] = {"quick": quick, "standard": run}
    longer = replace(STEPS, steps=2 * STEPS.steps)
    run = found["tnet-digits"]["standard"]
    found["longer-digits"] = {"standard": replace(run, schedule=longer)}
    return found


ROWS = rows()
