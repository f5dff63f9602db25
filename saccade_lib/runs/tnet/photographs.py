"""Table 1's accuracies: ImageNet by who has it, a pack of 25 classes by everybody.

At `paper` the recipe is that of section 5.1 and appendix B.2, and the data are a
reader's own (`$SACCADE_IMAGENET`); four processes share a batch of 64:

    torchrun --nproc-per-node 4 -m saccade_lib.runs make tnet tnet-imagenet--paper--0

At `standard` a small network sees 25 classes of Caltech-101 on images of 132 pixels.
Each picture is 80 wide and lies anywhere: as they come, objects stand in the middle,
and a policy that always looks there would do. Base, cells and the added row are in the
paper's proportion, as those of `digits` are; at 224 pixels a row would cost four times
as much.
"""

from dataclasses import replace

from saccade_lib.models import bagnet, tnet
from saccade_lib.runs.on_traversal import OnPictures
from saccade_lib.runs.tnet.recipe import recipe, rivals, together
from saccade_lib.train import Schedule

# --- the paper's sizes ----------------------------------------------------------------

TRAINED = 1_281_167  # pictures of ILSVRC2012; an epoch
EPOCHS, EPOCHS_BAGNET, RATE = 200, 175, 1e-4

IMAGENET = OnPictures(
    model=tnet.IMAGENET,
    schedule=recipe(TRAINED, EPOCHS, RATE),
    own=True,
    validation=10_000,
    test=50_000,
)

# --- a CPU's sizes --------------------------------------------------------------------

MODEL = tnet.mini(25, channels=3, base=45, gain=1.4)
STEPS = Schedule(
    steps=1_000,
    batch=32,
    rate=3e-3,
    decay=0.5,
    validate_every=250,
    precision="bfloat16",
)
QUICK = replace(STEPS, steps=8, batch=16, validate_every=8)
SMALL = OnPictures(
    model=MODEL, schedule=STEPS, side=132, picture=80, validation=98, test=248
)


def rows() -> dict[str, dict[str, OnPictures]]:
    """The paper's two networks and its ablation at all profiles, controls at small."""
    large = {
        "tnet": tnet.IMAGENET,
        "together": together(tnet.IMAGENET),
        "bagnet": bagnet.Config(classes=1000, dropout=0.625),
    }
    found = {}
    for name, model in rivals(MODEL).items():
        run = replace(SMALL, model=model)
        quick = replace(run, schedule=QUICK, seeds=(0,))
        profiles = {"quick": quick, "standard": run}
        if name in large:
            profiles["paper"] = replace(IMAGENET, model=large[name])
        found[f"{name}-imagenet"] = profiles
    found["bagnet-imagenet"]["paper"] = replace(
        found["bagnet-imagenet"]["paper"], schedule=recipe(TRAINED, EPOCHS_BAGNET, RATE)
    )
    return found


ROWS = rows()
