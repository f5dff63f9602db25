"""Runs of section 4.3: marines counted by windows that a minimap chooses.

`standard` is a field of 128 x 128 with at most five units of a kind, `paper` one of
1024 x 1024 with at most 22, as in the paper. Every row draws from the same scenes. What
a row has that `saccading-marines` has not stands in `ROWS`.
"""

from dataclasses import replace

from saccade_lib.models import baselines
from saccade_lib.models.counting import Config
from saccade_lib.runs.on_battlefield import OnBattlefield
from saccade_lib.train import Schedule

# Windows of three tenths of the side; a unit is 7 or 8 points wide in a crop.
SMALL = Config(
    classes=6,
    channels=3,
    proxy=32,
    glimpses=6,
    size=24,
    scale=(0.3, 0.3),
    hidden=48,
    sigma=0.06,
    sigma_max=0.12,
    # A sum over 3 x 32 x 32 values: with 1e-3 it weighs as much as the class term.
    reconstruction_weight=1e-5,
    kl_weight=1e-3,
    hold=0.4,
)
FIELD = dict(side=128, most=5, sprite=12, proxy=32, validation=500, test=4_000)
STEPS = Schedule(
    steps=450,
    batch=64,
    rate=2e-3,
    warmup=0.05,
    decay=0.3,
    validate_every=75,
    choose_after=0.5,
)
QUICK = Schedule(steps=40, batch=32, rate=3e-3, validate_every=20)

# The paper's field and minimap, the released command's T, p, L and widths.
LARGE = replace(
    SMALL,
    classes=23,
    proxy=64,
    scale=(0.1, 0.1),
    size=64,
    features=256,
    hidden=256,
)
LARGE_FIELD = dict(side=1024, most=22, sprite=32, proxy=64, squads=4, art="best")
LARGE_FIELD |= dict(samples=200_000, validation=5_000, test=50_000)
LARGE_STEPS = Schedule(
    steps=30_000,
    batch=128,
    rate=1e-3,
    validate_every=1_000,
    choose_after=0.5,
    precision="bfloat16",
)


def saccading(**changes: object) -> dict[str, OnBattlefield]:
    """The three profiles of a network that looks, with changes of its configuration."""
    small = OnBattlefield(model=replace(SMALL, **changes), schedule=STEPS, **FIELD)
    return {
        "quick": shortened(small),
        "standard": small,
        "paper": OnBattlefield(
            model=replace(LARGE, **changes), schedule=LARGE_STEPS, **LARGE_FIELD
        ),
    }


def shortened(run: OnBattlefield) -> OnBattlefield:
    return replace(
        run, schedule=QUICK, seeds=(0,), validation=250, test=500, samples=2_000
    )


def unlike(small: object, large: object, steps: Schedule) -> dict[str, OnBattlefield]:
    """The profiles of a baseline."""
    run = OnBattlefield(model=small, schedule=steps, **FIELD)
    of_paper = replace(LARGE_STEPS, batch=64)
    return {
        "quick": shortened(run),
        "standard": run,
        "paper": OnBattlefield(model=large, schedule=of_paper, **LARGE_FIELD),
    }


ROWS = {
    "saccading-marines": saccading(),
    "once-marines": saccading(once=True),
    "no-inhibition-marines": saccading(inhibition=0.0),
    "random-marines": saccading(places="random"),
    "oracle-marines": saccading(places="oracle"),
    "oracle-once-marines": saccading(places="oracle", once=True),
    "resnet18-marines": unlike(
        baselines.Config(classes=6, channels=3, width=16, hidden=128),
        baselines.Config(classes=23, channels=3),
        replace(STEPS, steps=250, validate_every=50),
    ),
    "proxy-marines": unlike(
        baselines.ProxyConfig(classes=6, channels=3, proxy=32, width=12),
        baselines.ProxyConfig(classes=23, channels=3, proxy=64),
        replace(STEPS, steps=900, validate_every=150),
    ),
}
