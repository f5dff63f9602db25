"""The network g that judges completions (equation 7), on digits and on birds.

Row ``g-NETWORK-IMAGES-FOLD``: ``g-set-birds-0`` is the set network, trained on fold 0
of the birds. What it says of completions from fold 1 is not learned by heart. The small
CNN stands beside it, on the same fold; at `paper` there is the paper's network.
"""

from dataclasses import replace

from saccade_lib.models.avp import Config
from saccade_lib.runs.on_images import OnImages
from saccade_lib.train import Schedule

DIGITS = Config(classes=10, channels=1, side=28, size=8, stride=4)  # 6 x 6 places
BIRDS = Config(classes=41, dropout=0.3, attributes=312, attribute_weight=3.0)  # 13 x 13

STEPS = Schedule(steps=3_000, batch=128, rate=3e-3, decay=0.75, validate_every=500)
QUICK = replace(STEPS, steps=150, batch=64, validate_every=150)

RUNS = {
    "digits": OnImages("digits", model=DIGITS, schedule=STEPS, validation=5_000),
    "birds": OnImages(
        "birds",
        model=BIRDS,
        schedule=replace(STEPS, steps=1_500, batch=64, rate=1e-3, weight_decay=0.3),
        flip=True,
        shift=4,
        validation=5_000,
        own=True,
    ),
}


def rows() -> dict[str, dict[str, OnImages]]:
    found = {}
    for images, run in RUNS.items():
        for network in ("set", "cnn"):
            width = 32 if network == "set" else 16
            model = replace(run.model, network=network, width=width)
            for fold in (0, 1) if network == "set" else (0,):
                each = replace(run, model=model, fold=fold)
                quick = replace(each, schedule=QUICK, seeds=(0,))
                quick = replace(quick, validation=250, test=250)
                found[f"g-{network}-{images}-{fold}"] = {
                    "quick": quick,
                    "standard": each,
                }
    return found | {f"g-densenet-birds-{fold}": densenet(fold) for fold in (0, 1)}


def densenet(fold: int) -> dict[str, OnImages]:
    """The paper's network at its sizes, from scratch: for a GPU."""
    model = replace(BIRDS, side=128, size=32, stride=8, network="densenet")
    steps = replace(STEPS, steps=12_000, batch=64, rate=1e-3, precision="bfloat16")
    run = replace(RUNS["birds"], model=model, schedule=steps, shift=8, fold=fold)
    return {"paper": run}


ROWS = rows()
