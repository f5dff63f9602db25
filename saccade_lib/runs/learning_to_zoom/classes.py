"""Tables 2, 3 and 4: classes of small things, by ways of reading a larger image.

Two stand-ins for iNaturalist and CUB-200, on which zooming can matter: one cluttered
digit on 128 pixels, read at 24; one bird among distractors on 256, read at 32, labelled
by its family. Where to read is found on copies of 64. All rows of one data set share
task network, steps and rates, and differ in where they read (offsets of deformable
convolutions alone learn more slowly); all start from random weights.

At `paper` scenes become iNaturalist, and species, `*-cub`, CUB-200: a reader's own
copies, with the paper's networks and sizes. The paper says nothing of its training; the
schedule is the public code's, as far as one rate allows, from random weights.
"""

from dataclasses import replace

from saccade_lib.models.cam import CamConfig
from saccade_lib.models.dynamic import DynamicConfig
from saccade_lib.models.zoom_classifier import ClassifierConfig
from saccade_lib.runs.on_zoom import OnZoom
from saccade_lib.train import Schedule
from saccade_lib.zoom import PAPER_SHARE

STEPS = Schedule(
    steps=500, batch=32, rate=2e-3, warmup=0.05, decay=0.9, validate_every=250
)

# Runs of seconds have five seeds: the sampler's differ by many points.
SEEDS = (0, 1, 2, 3, 4)
BLOB = 0.09  # of told maps: a thing of both data sets fills most of what is enlarged
DIGITS = OnZoom(
    model=ClassifierConfig(size=(24, 24), look=64, classes=10, blob=BLOB),
    schedule=STEPS,
    seeds=SEEDS,
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

# Species, of one bird without distractors that is as large as a scene allows.
SPECIES = replace(SCENES, species=True, thing=84, others=0, seeds=SEEDS)
SPECIES = replace(SPECIES, model=replace(SCENES.model, classes=41))
LARGE = Schedule(
    steps=270_000,  # 120 epochs of 579,184 pictures
    batch=256,
    rate=1e-3,
    decay=0.75,
    validate_every=10_000,
    choose_after=0.5,
    precision="bfloat16",
)
RATIO = (0.001, 0.01)
INATURALIST = OnZoom(
    model=ClassifierConfig(
        size=(227, 227),
        classes=5089,
        channels=3,
        task="resnet-101",
        layers=14,
        look_width=64,
        ratio=RATIO,
        share=PAPER_SHARE,
        padding="replicate",
        blur=0.25,
    ),
    schedule=LARGE,
    data="inaturalist",
    side=800,
    validation=5_000,
    test=95_986,
)
CUB = replace(
    INATURALIST,
    model=replace(INATURALIST.model, classes=200, task="resnet-50"),
    schedule=replace(LARGE, steps=12_000, batch=64, validate_every=1_000),
    data="cub",
    validation=299,
    test=5_794,
)
PAPER_SECOND = {"task": "inception-v3", "size": (299, 299)}


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


def rows(
    base: OnZoom, name: str, ways: dict[str, dict], paper: OnZoom | None = None
) -> dict[str, dict]:
    """Rows ``WAY-NAME`` at `standard`, at `quick` for a few steps, and at `paper`.

    Species have no `quick`: drawn birds, which ship, are of fewer species.
    """
    runs = {
        way: replace(base, model=replace(base.model, **more))
        for way, more in ways.items()
    }
    runs |= {"cam": cam(base), "dynamic": dynamic(base)}
    found = {f"{way}-{name}": {"standard": run} for way, run in runs.items()}
    short = replace(base.schedule, steps=8, batch=8, validate_every=8)
    small = {"schedule": short, "seeds": (0,), "validation": 40, "test": 40}
    for run in found.values() if not base.species else ():
        run["quick"] = replace(run["standard"], **small)
    for way in REAL & ways.keys() if paper else ():
        more = ways[way]
        if "task" in more:
            more = more | PAPER_SECOND
        found[f"{way}-{name}"]["paper"] = replace(
            paper, model=replace(paper.model, **more)
        )
    return found


# What the paper's networks can be put behind: of the others, the deformable row needs
# a ResNet of deformable convolutions, CAM and glimpses networks of their own.
REAL = {"sampler", "uniform", "affine", "tps", "grid", *DEPTHS, *SECOND}
REAL -= {"sampler-14"}  # the sampler itself, which has that depth
ROWS = (
    rows(DIGITS, "digits", WAYS)
    | rows(SCENES, "scenes", WAYS | DEPTHS | SECOND, INATURALIST)
    | rows(SPECIES, "cub", {k: WAYS[k] for k in ("sampler", "uniform", "oracle")}, CUB)
)
