"""Runs of Variational Saccading: Table 1, lower half, and what stands beside it.

Every row has the same data, epochs counted in images, and three seeds. A control is
the saccading network of its task with other places; it never sees the proxy.
"""

from dataclasses import replace

from saccade_lib.models import baselines
from saccade_lib.models.variational_saccading import Config
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.train import Schedule

# The first chapter: one digit among clutter on 60 x 60, from a 12 x 12 proxy.
SINGLE = Config(
    classes=10,
    proxy=12,
    glimpses=2,
    size=16,
    scale=(0.4, 0.4),
    sigma=0.25,
    sigma_max=0.35,
)

# Table 1 on a CPU: two windows for two digits, and among clutter a third, since one
# may go astray. They start at almost half of the side, so that something is seen
# anywhere, and close to little more than a digit.
SMALL = Config(
    classes=55,
    glimpses=2,
    size=28,
    scale=(0.45, 0.45),
    narrow_to=0.34,
    narrow_during=(0.1, 0.25),
    sigma=0.15,
    sigma_max=0.3,
)
SMALL_STEPS = Schedule(
    steps=12_000,
    batch=128,
    rate=3e-3,
    decay=0.75,
    validate_every=500,
    choose_after=0.25,
)
# Among clutter both *where* and *what* take longer.
CLUTTERED_STEPS = replace(SMALL_STEPS, steps=24_000, decay=0.5, validate_every=1_000)

# Table 1 at the paper's size: the released code's encoders and latent width.
LARGE = replace(SMALL, encoder="residual", features=256, hidden=256, size=32)
LARGE_STEPS = Schedule(
    steps=22_500,  # 60 epochs of 60,000
    batch=160,
    rate=1e-3,
    validate_every=750,
    choose_after=0.25,
    precision="bfloat16",
    graph=True,
)


def table_1(
    task: str, classes: int, glimpses: int, steps: Schedule = SMALL_STEPS
) -> dict[str, dict[str, OnDigits]]:
    """Saccading, ResNet-18 and the controls of one task at 100 x 100."""
    changes = dict(classes=classes, glimpses=glimpses)
    small = OnDigits(task, model=replace(SMALL, **changes), schedule=steps)
    saccading = {
        "quick": replace(
            small,
            schedule=Schedule(steps=60, batch=64, rate=3e-3, validate_every=30),
            seeds=(0,),
            validation=250,
            test=250,
        ),
        "standard": small,
        "paper": OnDigits(task, model=replace(LARGE, **changes), schedule=LARGE_STEPS),
    }
    rows = {f"saccading-{task}": saccading}
    for places in ("random", "centre", "oracle"):
        rows[f"{places}-{task}"] = {
            profile: replace(run, model=control(run.model, places))
            for profile, run in saccading.items()
        }
    rows[f"resnet18-{task}"] = {
        "quick": replace(
            saccading["quick"], model=baselines.Config(classes, width=4, hidden=32)
        ),
        "standard": OnDigits(
            task,
            model=baselines.Config(classes, width=16, hidden=256),
            schedule=Schedule(steps=2_500, batch=64, rate=2e-3, validate_every=250),
        ),
        "paper": OnDigits(
            task,
            model=baselines.Config(classes, width=64, hidden=256, resize=224),
            schedule=replace(LARGE_STEPS, steps=5_625, validate_every=375),
        ),
    }
    rows[f"proxy-{task}"] = {
        "quick": replace(
            saccading["quick"], model=baselines.ProxyConfig(classes, width=8)
        ),
        "standard": OnDigits(
            task,
            model=baselines.ProxyConfig(classes, width=16),
            schedule=Schedule(steps=3_000, batch=128, rate=2e-3),
        ),
    }
    return rows


def control(model: Config, places: str) -> Config:
    """The same classifier at other places, with windows of the final width."""
    # The centre seen twice is the centre seen once; a digit likewise.
    glimpses = {"centre": 1, "oracle": 2}.get(places, model.glimpses)
    return replace(
        model,
        places=places,
        glimpses=glimpses,
        scale=(model.narrow_to, model.narrow_to),
        narrow_to=None,
    )


def ablations() -> dict[str, dict[str, OnDigits]]:
    """The sum without each of the choices that make *where* learnable on a CPU."""
    whole = table_1("sum", 19, 2)["saccading-sum"]
    changes = {
        "no-inhibition-sum": dict(inhibition=0.0),
        "dense-sum": dict(posterior="dense"),
        "free-noise-sum": dict(sigma_max=None),
    }
    return {
        row: {
            profile: replace(run, model=replace(run.model, **change))
            for profile, run in whole.items()
            if profile != "paper"
        }
        for row, change in changes.items()
    }


def single() -> dict[str, dict[str, OnDigits]]:
    """The first chapter's model and its two controls."""
    rows = {}
    for row, model in (
        ("saccading-single", SINGLE),
        ("random-single", replace(SINGLE, places="random")),
        ("proxy-single", baselines.ProxyConfig(classes=10, proxy=12)),
    ):
        run = OnDigits(
            "single",
            model=model,
            schedule=Schedule(steps=700, batch=128, rate=2e-3, validate_every=175),
            side=60,
            clutter=4,
            validation=1_000,
        )
        longer = replace(run.schedule, steps=3_000, validate_every=250)
        rows[row] = {
            "quick": replace(run, seeds=(0,), test=2_000),
            "standard": replace(run, schedule=longer, validation=2_000),
        }
    return rows


ROWS = (
    single()
    | table_1("identification", 55, 3, CLUTTERED_STEPS)
    | table_1("sum", 19, 2)
    | ablations()
)
