"""Table 1: one network, taught by rewards, by wake and sleep, or by known places.

Row ``METHOD-IMAGES``. The species of ``birds`` are the paper's CUB; on
``birds-ATTRIBUTE`` the label is whether the species has it, where the paper has forty
attributes of faces. All methods of a set share pictures, schedule and first weights,
and the rate stays the same to the end, as in the public code: a rate that falls would
say itself when a run converges.

On species the first part of training reads at drawn places (evenly for RAM, where a
first look is worth most for RAM+ and all others, but for ``ps-nogs-even`` and
``ps-hgs-even``, which are to RAM what the rows beside them are to RAM+); attributes are
learned without it. Rows of known places have alpha as the public code has it;
``ps-nogs-mean`` as equation 8.
"""

from dataclasses import replace

from saccade_lib.models.partial_supervision import Config, WsramConfig
from saccade_lib.runs.on_sequences import OnSequences
from saccade_lib.train import Schedule

DIGITS = Config(classes=10, channels=1, size=8, grid=6, margin=8 / 28)
BIRDS = Config(classes=41, channels=3, size=16, grid=13, margin=1 / 4, drawn=0.2)
BINARY = replace(BIRDS, classes=2, drawn=0.0)
STEPS = Schedule(
    steps=6_000,
    batch=64,
    rate=1e-3,
    decay=0.0,
    clip=1e9,  # none: the weight of known places would shrink all other gradients
    validate_every=100,
    weight_decay=0.0,
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
# Attributes that a third to a half of the species have, each of another part.
TASKS = {
    "wing": "has_wing_color::white",
    "belly": "has_belly_color::white",
}
SUM = 64.0  # alpha of the public code, which sums over its batch of 64


def methods(run: OnSequences, images: str) -> dict[str, OnSequences]:
    """The rows of Table 1 and their controls, by name."""
    names = ("glimpses", "core", "width", "features", "grid", "size", "margin", "drawn")
    shape = {name: getattr(run.model, name) for name in names}
    sleep = WsramConfig(
        run.model.classes, channels=run.model.channels, baseline="none", **shape
    )
    told = replace(run, model=replace(run.model, taught=SUM))
    found = {
        "ram": replace(run, plus=False),
        "wsram": replace(run, model=sleep),
        "ps-ram": replace(told, told="ram", teacher=f"ram-{images}"),
        "ps-nogs": replace(told, told="designed"),
        "random": replace(run, model=replace(run.model, places="random")),
    }
    if run.attribute:
        return found
    found["ps-nogs-mean"] = replace(run, told="designed")
    found["ps-random"] = replace(told, told="random")
    if images == "birds":
        found["ram-plus"] = run
        found["ps-hgs"] = replace(told, told="hand")
        for name in ("ps-nogs", "ps-hgs"):
            found[f"{name}-even"] = replace(found[name], plus=False)
    return found


def sets() -> dict[str, OnSequences]:
    """RAM of each set of images, by its name."""
    found = dict(RUNS)
    for name, attribute in TASKS.items():
        found[f"birds-{name}"] = replace(
            RUNS["birds"],
            attribute=attribute,
            designs=f"birds-{name}",
            plus=False,
            model=BINARY,
            schedule=replace(STEPS, steps=3_000, rate=3e-4),  # of the public code
        )
    return found


def rows() -> dict[str, dict[str, OnSequences]]:
    found = {}
    for images, run in sets().items():
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
