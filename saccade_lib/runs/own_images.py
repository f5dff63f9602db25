"""Rows of "Your own images": a folder of made images, and ways to learn where to look.

Each row says, as ``test_accuracy_proxy``, what its classifier of the proxy alone gets
right: the same network, on the same images.
"""

from dataclasses import replace

from saccade_lib.models.looking import WAYS, Config
from saccade_lib.runs.on_folder import OnMadeFolder
from saccade_lib.train import Schedule

STANDARD = OnMadeFolder(
    model=Config(classes=4, scale=0.16),
    schedule=Schedule(steps=600, batch=24, rate=3e-3, validate_every=50),
    count=100,
    validation=80,
    test=80,
)
QUICK = replace(
    STANDARD,
    schedule=replace(STANDARD.schedule, steps=10, validate_every=5),
    seeds=(0,),
    count=8,
    validation=8,
    test=8,
)


def own_images() -> dict[str, dict[str, OnMadeFolder]]:
    """A row a way: ``own-images-reward`` and so on."""
    return {
        f"own-images-{way}": {
            name: replace(run, model=replace(run.model, places=way))
            for name, run in (("quick", QUICK), ("standard", STANDARD))
        }
        for way in WAYS
    }


ROWS = own_images()
