"""Runs of recurrent attention: digits among clutter, by each learning rule.

Row ``RULE-TASK-T``: ``ram-60-cluttered-6`` is RAM on 60 x 60 with clutter and six
glimpses. Every rule has beside it the same network at random places; ``fc-64``,
``fc-256`` and ``conv`` read the whole canvas, as in the papers' tables.
"""

from dataclasses import replace

from saccade_lib.models import plain, wsram
from saccade_lib.models.recurrent_attention import Config
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.on_glimpses import OnGlimpses, OnWholes
from saccade_lib.train import Schedule

# Mnih et al. 2014: 8 x 8 pixels at one scale on 28 x 28; 12 x 12 at three and four.
# The margins keep the finest patch inside the image.
RAM = Config(classes=10, glimpses=6, size=8, sigma=0.05, margin=0.28, weight=0.01)
WIDE = replace(RAM, size=12, scales=3, sigma=0.1, margin=0.2, weight=0.1)

# 164 passes over the digits, about as long as public codes train.
LONG = Schedule(
    steps=16_000, batch=512, rate=2e-3, decay=0.75, validate_every=1_000, graph=True
)
STEPS = replace(LONG, steps=8_000, batch=128, rate=1e-3, precision="bfloat16")
QUICK = replace(STEPS, steps=60, batch=64, validate_every=30)

TASKS = {
    "28": OnGlimpses("translated", model=RAM, schedule=LONG, side=28),
    "60-translated": OnGlimpses("translated", model=WIDE, schedule=STEPS, side=60),
    "60-cluttered": OnGlimpses(
        "single", model=WIDE, schedule=STEPS, side=60, clutter=4
    ),
    "100-cluttered": OnGlimpses(
        "single",
        model=replace(WIDE, scales=4, margin=0.12),
        schedule=STEPS,
        side=100,
        clutter=8,
    ),
}
GLIMPSES = {
    "28": (6,),
    "60-translated": (6,),
    "60-cluttered": (4, 6, 8),
    "100-cluttered": (8,),
}
WHOLE = {  # networks that read all of a canvas
    "28": ("fc-256", "conv"),
    "60-translated": ("fc-64", "fc-256", "conv"),
    "60-cluttered": ("fc-64", "fc-256", "conv"),
    "100-cluttered": ("conv",),
}


def rows() -> dict[str, dict[str, OnGlimpses]]:
    """RAM and random places, for each task and number of glimpses."""
    found = {}
    for task, run in TASKS.items():
        for T in GLIMPSES[task]:
            for rule in ("ram", "random"):
                places = "random" if rule == "random" else "learned"
                model = replace(run.model, glimpses=T, places=places)
                found[f"{rule}-{task}-{T}"] = profiles(replace(run, model=model))
    return found


def rules() -> dict[str, dict[str, OnGlimpses]]:
    """Other ways to learn where, on 60 x 60 with clutter: all read a grid of cells.

    Where an image is looked at four times, a batch has a quarter of the images: every
    row reads the same number of glimpses.
    """
    run = TASKS["60-cluttered"]
    grid = replace(run.model, policy="grid", grid=11)
    four = replace(grid, runs=4, baseline="leave-one-out", weight=1.0)
    models = {
        "grid": grid,
        "leave-one-out": four,
        "likelihood": replace(four, reward="likelihood"),
        "wsram": wsram.Config(**vars(replace(four, baseline="none"))),
    }
    return {
        f"{rule}-60-cluttered-6": profiles(
            replace(
                run,
                model=model,
                schedule=replace(run.schedule, batch=run.schedule.batch // model.runs),
            )
        )
        for rule, model in models.items()
    }


def wholes() -> dict[str, dict[str, OnWholes]]:
    """Networks that read the whole canvas: the lines of the papers' tables.

    All see 8,000 batches of 128, also on 28 x 28.
    """
    found = {}
    for task, names in WHOLE.items():
        run = TASKS[task]
        for name in names:
            first, _, hidden = name.partition("-")
            model = plain.Config(10, run.side, hidden=int(hidden or 256))
            if first == "conv":
                model = replace(model, first="conv")
            of_canvas = {k: getattr(run, k) for k in ("task", "side", "clutter")}
            whole = OnWholes(model=model, schedule=STEPS, **of_canvas)
            found[f"{name}-{task}"] = profiles(whole)
    return found


def profiles(run: OnDigits) -> dict[str, OnDigits]:
    return {
        "quick": replace(run, schedule=QUICK, seeds=(0,), validation=250, test=250),
        "standard": run,
    }


ROWS = rows() | rules() | wholes()
