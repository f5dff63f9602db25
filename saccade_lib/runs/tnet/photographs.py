"""Table 1's accuracies: ImageNet by who has it, a pack of 25 classes by everybody.

At `paper` the recipe is that of section 5.1 and appendix B.2, and the data are a
reader's own (`$SACCADE_IMAGENET`); four processes share a batch of 64:

    torchrun --nproc-per-node 4 -m saccade_lib.runs make tnet tnet-imagenet--paper--0

At `standard` a small network sees 25 classes of Caltech-101, each picture 134 of 224
pixels wide at a place drawn evenly: as they come, objects stand in the middle, and a
policy that always looks there would do.
"""

from dataclasses import replace

from saccade_lib.models import bagnet, tnet
from saccade_lib.runs.on_traversal import OnPictures
from saccade_lib.train import Schedule

# --- the paper's sizes ----------------------------------------------------------------

TRAINED = 1_281_167  # pictures of ILSVRC2012; an epoch
BATCH, EPOCHS, EPOCHS_BAGNET = 64, 200, 175


def recipe(epochs: int) -> Schedule:
    """Adam at 1e-4, a tenth of it for the last fifth; nothing else."""
    return Schedule(
        steps=epochs * TRAINED // BATCH,
        batch=BATCH,
        rate=1e-4,
        warmup=0.0,
        decay=0.0,
        drop_at=0.8,
        clip=1e9,  # none
        weight_decay=0.0,
        validate_every=TRAINED // BATCH,
    )


IMAGENET = OnPictures(
    model=tnet.IMAGENET,
    schedule=recipe(EPOCHS),
    own=True,
    validation=10_000,
    test=50_000,
)

# --- a CPU's sizes --------------------------------------------------------------------

MODEL = tnet.mini(25, channels=3, base=77, gain=1.4)
STEPS = Schedule(
    steps=150, batch=32, rate=3e-3, decay=0.5, validate_every=75, precision="bfloat16"
)
QUICK = replace(STEPS, steps=4, batch=16, validate_every=4)
SMALL = OnPictures(model=MODEL, schedule=STEPS, picture=134, validation=98, test=248)


def rows() -> dict[str, dict[str, OnPictures]]:
    """The paper's two networks and its ablation at all profiles, controls at small."""
    whole = bagnet.Config(25, width=1 / 8, blocks="small", gain=MODEL.gain)
    models = {
        "tnet": MODEL,
        "random": replace(MODEL, places="random"),
        "centre": replace(MODEL, places="centre"),
        "oracle": replace(MODEL, places="oracle"),
        "together": replace(MODEL, lambda_c=1.0, lambda_r=1.0),
        "bagnet": whole,
    }
    large = {
        "tnet": tnet.IMAGENET,
        "together": replace(tnet.IMAGENET, lambda_c=1.0, lambda_r=1.0),
        "bagnet": bagnet.Config(classes=1000, dropout=0.625),
    }
    found = {}
    for name, model in models.items():
        run = replace(SMALL, model=model)
        quick = replace(run, schedule=QUICK, seeds=(0,), validation=50, test=50)
        profiles = {"quick": quick, "standard": run}
        if name in large:
            profiles["paper"] = replace(IMAGENET, model=large[name])
        found[f"{name}-imagenet"] = profiles
    found["bagnet-imagenet"]["paper"] = replace(
        found["bagnet-imagenet"]["paper"], schedule=recipe(EPOCHS_BAGNET)
    )
    return found


ROWS = rows()
