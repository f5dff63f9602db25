"""Runs of Table 1's column of photographs: six classes, large images, few samples.

Recorded on composites (`saccade_lib.data.composites`), since MIT-Adobe FiveK may not be
passed on; with ``$SACCADE_FIVEK`` set to a copy of it, the same rows run on that.

At `paper` composites have 2528 pixels a side and a proxy of 32. At `standard` both are
halved, so that a proxy shows a patch as small as at full size while the windows' share
of the canvas, and with it the chance to see an object before anything is learned, is
four times as large.
"""

from dataclasses import dataclass, replace

from torch import nn

from saccade_lib.models import baselines
from saccade_lib.models.shown_places import ShownConfig, ShownPlaces
from saccade_lib.models.variational_saccading import Config
from saccade_lib.runs.experiment import as_kind
from saccade_lib.runs.on_photographs import OnPhotographs
from saccade_lib.runs.variational_saccading.two_digits import LARGE, LARGE_STEPS
from saccade_lib.train import Schedule

HALF = 1280  # a multiple of 32, as composites need
EIGHTH = HALF // 8  # the level that the narrowed windows are read from

# Three windows for three patches. They start at almost half of the side and close to
# one and a half times a patch.
SMALL = Config(
    classes=6,
    channels=3,
    proxy=16,
    glimpses=3,
    size=32,
    scale=(0.45, 0.45),
    narrow_to=0.3,
    narrow_during=(0.4, 0.7),
    sigma=0.15,
    sigma_max=0.3,
)
SMALL_STEPS = Schedule(
    steps=2_400, batch=32, rate=3e-3, validate_every=200, choose_after=0.75
)
# A classifier whose windows are on the objects from the start learns in a few hundred
# batches, and after that its few training pictures by heart.
SHORT = replace(SMALL_STEPS, steps=300, batch=64, validate_every=75, choose_after=0.0)
# The true places of all three patches for 600 steps, and then what the network says.
SHOWN = replace(SMALL_STEPS, steps=1_500, validate_every=150, choose_after=0.5)
# 1,800 shown batches, and then smaller steps: a slope that says little is followed
# where many of them are averaged.
SLOW = replace(SHOWN, steps=4_500, validate_every=300, drop_at=0.4)

BIG = replace(
    LARGE,
    classes=6,
    channels=3,
    glimpses=3,
    size=64,
    scale=(0.4, 0.4),
    narrow_to=0.152,
    narrow_during=(0.5, 0.75),
    sigma_max=0.2,
    sigma=0.1,
)
OVER_CROPS = baselines.CropsConfig(
    classes=6, channels=3, crop=224, segment=12, checkpoint=True
)


def fixed(model: Config, places: str, glimpses: int) -> Config:
    """The same classifier at other places, with windows of the final width.

    The oracle's first place is the object's, its other two the distractors'.
    """
    width = model.narrow_to, model.narrow_to
    return replace(model, places=places, glimpses=glimpses, scale=width, narrow_to=None)


@dataclass(frozen=True, kw_only=True)
class ShownFirst(OnPhotographs):
    """`OnPhotographs` for a network that begins at the true places."""

    def kind(self) -> type[nn.Module]:
        return ShownPlaces


def shown(run: OnPhotographs, **changes) -> ShownFirst:
    """The row ``saccading`` with the true places at first, its windows of one width."""
    width = run.model.narrow_to, run.model.narrow_to
    model = as_kind(ShownConfig, run.model, scale=width, narrow_to=None, **changes)
    return as_kind(ShownFirst, run, model=model, schedule=SHOWN)


def photographs() -> dict[str, dict[str, OnPhotographs]]:
    """Both models of the paper, controls, and rows whose windows do not fade."""
    standard = OnPhotographs(
        model=SMALL, schedule=SMALL_STEPS, side=HALF, validation=300, test=2_000
    )
    whole = OnPhotographs(
        model=BIG, schedule=replace(LARGE_STEPS, graph=False), soft=True
    )
    told = replace(shown(standard, told=10.0), schedule=SLOW, soft=False)
    deaf = replace(told.model, sampler="detached")  # to what the crops show
    fast = replace(told, schedule=replace(SLOW, drop_at=1.0))
    slow_places = replace(told.model, ratio=(1.0, 0.1))
    slow_reader = replace(told.model, ratio=(0.1, 1.0))
    proxy = baselines.ProxyConfig(classes=6, channels=3, proxy=16, width=16)
    small_crops = replace(OVER_CROPS, width=8, hidden=32, crop=28, segment=None)
    rows = {
        "saccading": standard,
        "random": replace(standard, model=fixed(SMALL, "random", 3)),
        "patches": replace(standard, model=fixed(SMALL, "oracle", 3), schedule=SHORT),
        "oracle": replace(standard, model=fixed(SMALL, "oracle", 1), schedule=SHORT),
        "shown": shown(standard),
        "held": shown(standard, held=True),
        "hard": replace(standard, soft=False),
        "hard-shown": replace(shown(standard), soft=False),
        "told": told,
        "fast-told": fast,
        "slow-places-told": replace(fast, model=slow_places),
        "slow-reader-told": replace(fast, model=slow_reader),
        "held-told": replace(fast, model=replace(told.model, held=True)),
        "no-gradient-told": replace(told, model=deaf),
        "fast-no-gradient-told": replace(fast, model=deaf),
        "slow-places-no-gradient-told": replace(
            fast, model=replace(deaf, ratio=slow_places.ratio)
        ),
        "rule-told": replace(told, model=replace(told.model, teacher="rule")),
        "slow-shown": replace(shown(standard), schedule=SLOW, soft=False),
        "proxy": replace(standard, model=proxy, schedule=SHORT),
        "crops": replace(
            standard,
            model=replace(small_crops, checkpoint=False),
            schedule=replace(SHORT, batch=16),
            whole=EIGHTH,
        ),
    }
    made = {
        f"{name}-photographs": {"quick": short(run), "standard": run}
        for name, run in rows.items()
    }
    made["saccading-photographs"]["paper"] = whole
    made["crops-photographs"]["paper"] = replace(
        whole,
        model=OVER_CROPS,
        schedule=replace(LARGE_STEPS, steps=7_500, batch=16, graph=False),
        whole=whole.side,
        validation=600,
        test=3_000,
    )
    return made


def short(run: OnPhotographs) -> OnPhotographs:
    """A few batches, to show that the machinery runs."""
    few = dict(steps=24, batch=32, rate=3e-3, validate_every=12)
    schedule = Schedule(**few, drop_at=run.schedule.drop_at)
    return replace(run, schedule=schedule, seeds=(0,), validation=120, test=120)


ROWS = photographs()
