"""Tables 2, 3 and 4: classes of small things, by ways of reading a larger image.

Two stand-ins for iNaturalist and CUB-200, on which zooming can matter: one cluttered
digit on 128 pixels, read at 24; one bird among distractors on 256, read at 32, labelled
by its family. Where to read is found on copies of 64. All rows of one data set share
task network, steps and rates, and differ in where they read (offsets of deformable
convolutions alone learn more slowly); all start from random weights.
"""

from dataclasses import replace

from saccade_lib.models.cam import CamConfig
from saccade_lib.models.dynamic import DynamicConfig
from saccade_lib.models.zoom_classifier import ClassifierConfig
from saccade_lib.runs.on_zoom import OnZoom
from saccade_lib.train import Schedule

STEPS = Schedule(
    steps=500, batch=32, rate=2e-3, warmup=0.05, decay=0.9, validate_every=250
)

BLOB = 0.09  # of told maps: a thing of both data sets fills most of what is enlarged
DIGITS = OnZoom(
    model=ClassifierConfig(size=(24, 24), look=64, classes=10, blob=BLOB),
    schedule=STEPS,
    validation=500,
    test=2_000,
)
SCENES = OnZoom(
    model=ClassifierConfig(size=(32, 32), look=64, classes=9, channels=3, blob=BLOB),
    schedule=STEPS,
    data="scenes",
    side=256,
    thing=72,
    others=3,
    validation=400,
    test=1_200,
)

# What differs from the sampler, the first row.
WAYS = {
    "sampler": {},
    "uniform": {"reader": "uniform"},
    "uniform-point": {"reader": "uniform", "prefilter": 1},
    "deformable": {"reader": "uniform", "deformable": 3},
    "affine": {"reader": "affine"},
    "tps": {"reader": "tps"},
    "grid": {"reader": "grid"},
    "oracle": {"reader": "oracle"},
    "random": {"reader": "random"},
    "centre": {"reader": "centre"},
}
DEPTHS = {f"sampler-{n}": {"layers": n} for n in (6, 10, 14)}
SECOND = {
    "residual-uniform": {"reader": "uniform", "task": "residual"},
    "residual-sampler": {"task": "residual"},
}
GLIMPSES = 4  # of the dynamic row, each of four scales: as many values as J has


def dynamic(base: OnZoom) -> OnZoom:
    """Glimpses in turn, of four scales; the coarsest spans half an image or more."""
    side = base.model.size[0] // 2
    model = DynamicConfig(
        classes=base.model.classes,
        channels=base.model.channels,
        glimpses=GLIMPSES,
        targets=GLIMPSES,
        size=side,
        scales=4,
        read="conv",
    )
    return replace(base, model=model)


def cam(base: OnZoom) -> OnZoom:
    """The class activation map of the uniform row's network."""
    names = ("size", "classes", "channels", "width")
    return replace(base, model=CamConfig(**{n: getattr(base.model, n) for n in names}))


def rows(base: OnZoom, name: str, ways: dict[str, dict]) -> dict[str, dict]:
    """Rows ``WAY-NAME`` at `standard`, and at `quick` for a few steps."""
    runs = {
        way: replace(base, model=replace(base.model, **more))
        for way, more in ways.items()
    }
    runs |= {"cam": cam(base), "dynamic": dynamic(base)}
    short = replace(base.schedule, steps=8, batch=8, validate_every=8)
    small = {"schedule": short, "seeds": (0,), "validation": 40, "test": 40}
    return {
        f"{way}-{name}": {"quick": replace(run, **small), "standard": run}
        for way, run in runs.items()
    }


ROWS = rows(DIGITS, "digits", WAYS) | rows(SCENES, "scenes", WAYS | DEPTHS | SECOND)
