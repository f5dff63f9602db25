"""RAM and DRAM on the paper's two-digit tasks: the quoted rows of Table 1, trained.

DRAM reads identification as a sequence, the left digit first; RAM and both on the sum
have one label at the end. Beside each, the same network at random places.
"""

from dataclasses import replace

from saccade_lib.models.recurrent_attention import Config
from saccade_lib.runs.on_glimpses import OnGlimpses
from saccade_lib.train import Schedule

# The margins keep the finest patch inside the image; the widest is 64 pixels across.
RAM = Config(
    classes=55, glimpses=6, size=16, scales=3, sigma=0.15, margin=0.16, weight=0.1
)
# Four runs an image, held against each other, with the log-likelihood as reward: while
# hardly any answer is right, a 0/1 reward says nothing.
DRAM = replace(
    RAM,
    classes=10,
    glimpses=4,
    core="lstm",
    read="conv",
    width=128,
    context=25,
    targets=2,
    runs=4,
    baseline="leave-one-out",
    reward="likelihood",
    weight=0.3,
)
STEPS = Schedule(
    steps=8_000,
    batch=128,
    rate=1e-3,
    decay=0.75,
    validate_every=1_000,
    precision="bfloat16",
    graph=True,
)
QUICK = replace(STEPS, steps=60, batch=64, validate_every=30)


def rows() -> dict[str, dict[str, OnGlimpses]]:
    models = {
        "ram-identification": RAM,
        "ram-sum": replace(RAM, classes=19),
        "dram-identification": DRAM,
        "dram-sum": replace(DRAM, classes=19, targets=1),
    }
    found = {}
    for row, model in models.items():
        # As many glimpses a step, whatever the number of runs.
        steps = replace(STEPS, batch=STEPS.batch // model.runs)
        run = OnGlimpses(row.split("-")[1], model=model, schedule=steps)
        random = replace(run, model=replace(model, places="random", context=0))
        for name, one in ((row, run), (f"random-{row}", random)):
            quick = replace(one, schedule=QUICK, seeds=(0,), validation=250, test=250)
            found[name] = {"quick": quick, "standard": one}
    return found


ROWS = rows()
