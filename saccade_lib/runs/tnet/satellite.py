"""Table 2's accuracies: mosaics of RSSCN7 by everybody, fMoW by who has it.

At `standard` a mosaic has 3 x 3 tiles of 48 pixels, and TNet reads 48 x 48: the whole
shrunk by three, and cells as wide as a tile, so that one of nine locations is right.
`levels` has the paper's grid, 3 x 3 cells of half the side, on three levels: 192
pixels and 48 stand in the proportion of 896 and 224.

At `paper` the recipe is that of section 5.2 and appendix B.3; the data are a reader's
own (`$SACCADE_FMOW`). Four processes share a batch:

    torchrun --nproc-per-node 4 -m saccade_lib.runs make tnet tnet-satellite--paper--0
"""

from dataclasses import replace
from functools import partial

from saccade_lib.models import efficientnet, tnet
from saccade_lib.runs.on_mosaics import AT, OnFMoW, OnMosaics
from saccade_lib.runs.tnet.recipe import recipe
from saccade_lib.train import Schedule

# --- a CPU's sizes --------------------------------------------------------------------

MODEL = tnet.Config(
    classes=4,
    backbone="efficientnet",
    base=48,
    locations=(3,),
    grid=3,
    cell=1 / 3,
    width=1 / 4,
    blocks="small",
)
LEVELS = replace(MODEL, locations=(2, 1), cell=1 / 2, lambda_c=0.05, lambda_r=0.05)
B0 = efficientnet.Config(classes=4, width=1 / 4, blocks="small")
STEPS = Schedule(steps=1_200, batch=32, rate=3e-3, decay=0.5, validate_every=200)
QUICK = replace(STEPS, steps=6, batch=16, validate_every=6)
RUN = OnMosaics(model=MODEL, schedule=STEPS, validation=250, test=1_000)

# --- the paper's sizes ----------------------------------------------------------------

TRAINED, VALIDATED, TESTED = 363_572, 53_041, 53_473  # pictures of fMoW
of_fmow = partial(recipe, TRAINED, rate=1e-3)
L2 = 1e-5  # of the baselines; the paper adds it to the loss, AdamW to the step
FIRST = replace(
    tnet.FMOW, locations=(2,), depth_drop=0.3, lambda_c=0.2, lambda_r=0.2
)  # of the two stages
FMOW = OnFMoW(
    model=FIRST,
    schedule=of_fmow(40),
    side=448,
    validation=VALIDATED,
    test=TESTED,
)
WHOLE = efficientnet.Config(classes=62, dropout=0.75, depth_drop=0.5)


def on_mosaics() -> dict[str, OnMosaics]:
    """TNet, the same classifier at other places, and B0 on all that could be given."""
    runs = {
        "tnet": RUN,
        "random": replace(RUN, model=replace(MODEL, places="random")),
        "centre": replace(RUN, model=replace(MODEL, places="centre")),
        "oracle": replace(RUN, model=replace(MODEL, places="oracle", locations=(1,))),
        "levels": replace(RUN, model=LEVELS, side=192, coarse=4, tested=AT),
    }
    for read in ("object", "small", "half", "whole"):
        runs[f"b0-{read}"] = replace(RUN, model=B0, read=read)
    return runs


def on_fmow() -> dict[str, OnFMoW]:
    """The rows of Table 2. The second stage begins with the weights of the first."""

    def b0(epochs: int, batch: int = 64, model=WHOLE, **more) -> OnFMoW:
        schedule = replace(of_fmow(epochs, batch=batch), weight_decay=L2)
        return replace(FMOW, model=model, schedule=schedule, **more)

    at_448 = replace(WHOLE, depth_drop=0.3)
    at_896 = replace(WHOLE, dropout=0.3, depth_drop=0.2)
    return {
        "tnet": FMOW,
        "levels": replace(
            FMOW, model=tnet.FMOW, schedule=of_fmow(10), side=896, second=True
        ),
        "b0-object": b0(65, side=224, boxes=True),
        "b0-small": b0(60, side=224),
        "b0-half": b0(30, 32, model=at_448),
        "b0-whole": b0(30, 32, model=at_896, side=896),
    }


def rows() -> dict[str, dict[str, OnMosaics | OnFMoW]]:
    """``NAME-satellite``: mosaics at `quick` and `standard`, fMoW at `paper`."""
    large, found = on_fmow(), {}
    for name, run in on_mosaics().items():
        quick = replace(run, schedule=QUICK, seeds=(0,), validation=50, test=50)
        profiles = {"quick": quick, "standard": run}
        if name in large:
            profiles["paper"] = large[name]
        found[f"{name}-satellite"] = profiles
    return found


ROWS = rows()
