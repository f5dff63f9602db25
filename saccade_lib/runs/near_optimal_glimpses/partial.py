"""Table 1: one network, taught by rewards, by wake and sleep, or by known places.

Row ``METHOD-IMAGES``; on ``birds-ATTRIBUTE`` the label is whether the species has it,
where the paper has forty attributes of faces. All methods of a set share pictures,
schedule and first weights. On birds the first part of training reads at drawn places
(evenly for RAM, where a first look is worth most for RAM+ and all others). Rows of
known places have alpha as the public code has it; ``ps-nogs-mean`` as equation 8.
"""

from dataclasses import replace

from saccade_lib.models.partial_supervision import Config, WsramConfig
from saccade_lib.runs.on_sequences import OnSequences
from saccade_lib.train import Schedule

DIGITS = Config(classes=10, channels=1, size=8, grid=6, margin=8 / 28)
BIRDS = Config(classes=41, channels=3, size=16, grid=13, margin=1 / 4, drawn=0.2)
STEPS = Schedule(
    steps=6_000, batch=64, rate=1e-3, decay=0.5, validate_every=200, weight_decay=0.0
)
QUICK = replace(STEPS, steps=30, batch=32, validate_every=15)

RUNS = {
    "digits": OnSequences(
        "digits",
        model=DIGITS,
        schedule=STEPS,
        known=1_000,
        validation=1_000,
        test=2_000,
    ),
    "birds": OnSequences(
        "birds", model=BIRDS, schedule=STEPS, plus=True, test=2_000, own=True
    ),
}
TASKS = {
    "wing": "has_wing_color::white",
    "bill": "has_bill_length::about_the_same_as_head",
}
SUM = 64.0  # alpha of the public code, which sums over its batch of 64


def methods(run: OnSequences, images: str) -> dict[str, OnSequences]:
    """The rows of Table 1 and two controls, by name."""
    shared = {
        "glimpses",
        "core",
        "width",
        "features",
        "grid",
        "size",
        "margin",
        "drawn",
    }
    shape = {k: v for k, v in vars(run.model).items() if k in shared}
    sleep = WsramConfig(
        run.model.classes, channels=run.model.channels, baseline="none", **shape
    )
    told = replace(run, model=replace(run.model, taught=SUM))
    found = {
        "ram": replace(run, plus=False),
        "wsram": replace(run, model=sleep),
        "ps-ram": replace(told, told="ram", teacher=f"ram-{images}"),
        "ps-nogs": replace(told, told="designed"),
        "ps-nogs-mean": replace(run, told="designed"),
        "ps-random": replace(told, told="random"),
        "random": replace(run, model=replace(run.model, places="random")),
    }
    if run.images == "birds":
        found["ram-plus"] = run
        found["ps-hgs"] = replace(told, told="hand")
    return found


def rows() -> dict[str, dict[str, OnSequences]]:
    sets = dict(RUNS)
    for name, attribute in TASKS.items():
        model = replace(BIRDS, classes=2)
        sets[f"birds-{name}"] = replace(RUNS["birds"], attribute=attribute, model=model)
    found = {}
    for images, run in sets.items():
        for name, each in methods(run, images).items():
            quick = replace(
                each,
                schedule=QUICK,
                seeds=(0,),
                known=40,
                annotated="quick",
                validation=100,
                test=100,
            )
            found[f"{name}-{images}"] = {"quick": quick, "standard": each}
    return found


ROWS = rows()
