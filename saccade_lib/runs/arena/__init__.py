"""Rows of "One arena": sixteen ways to read an image, on five tasks.

``METHOD-TASK``. All rows of a task train on as many images, but for those that read so
many pixels that they could not: `FEWER` says which, and how many they get. Some rows
come once more, ``METHOD-long-canvas-128``, with `LONG` times as many images.
"""

import math
from dataclasses import replace

from saccade_lib.models import (
    attention_sampling,
    partial_supervision,
    patch_selection,
    recurrent_attention,
    saccader,
    tnet,
    variational_saccading,
    whole,
    wsram,
    zoom_classifier,
)
from saccade_lib.runs.on_arena import TASKS, OnArena, Task
from saccade_lib.train import Schedule

WIDTH = 8  # channels of the first convolution of all crop networks
FEATURES = 64
STEPS = Schedule(
    steps=1_000, batch=32, rate=3e-3, warmup=0.05, decay=0.5, validate_every=250
)
PICTURES = replace(STEPS, steps=500)


def even(side: float) -> int:
    """The nearest even number."""
    return 2 * round(side / 2)


def traversal(task: Task) -> dict:
    """TNet's cells: tiles of mosaics; else two levels, or three of small things."""
    K = task.glimpses
    if task.data == "mosaics":
        return {"locations": (K,), "grid": 3, "cell": 1 / 3}
    small = task.thing / task.side < 0.1
    return {"locations": (1, K - 1) if small else (K,), "grid": 3, "cell": 0.4}


def configs(task: Task) -> dict[str, object]:
    """The model of each method."""
    C, n, K, J, L = task.classes, task.channels, task.glimpses, task.proxy, task.size
    s = task.scale
    net = {"classes": C, "channels": n, "features": FEATURES, "width": WIDTH}
    windows = {"size": L, "scale": s}
    saccading = variational_saccading.Config(
        classes=C,
        channels=n,
        proxy=J,
        glimpses=K,
        size=L,
        scale=(s, s),
        features=FEATURES,
        crop_width=WIDTH,
        sigma=0.1,
        sigma_max=0.2,
    )
    cells = min(13, 2 * math.ceil(1 / s) - 1)  # half a window apart, or a little more
    recurrent = {
        "classes": C,
        "channels": n,
        "glimpses": K,
        "size": L,
        "margin": s,
        "width": 128,
    }
    reads = {"read": "crop", "crop_width": WIDTH, "features": FEATURES}
    uniform = even(math.sqrt(J**2 + K * L**2))
    return {
        "full": whole.Config(**net),
        "uniform": whole.Config(**net, side=uniform),
        "tiles": whole.TilesConfig(**net, **windows),
        "random": replace(saccading, places="random"),
        "centre": replace(saccading, places="centre"),
        "oracle": replace(saccading, places="oracle"),
        "saccading": replace(
            saccading,
            scale=(2 * s, 2 * s),  # windows begin twice as wide
            narrow_to=s,
            narrow_during=(0.3, 0.8),
        ),
        "ram": recurrent_attention.Config(
            **recurrent, **reads, core="rnn", scales=3, weight=1.0
        ),
        "dram": recurrent_attention.Config(
            **recurrent, **reads, core="lstm", context=J, weight=1.0
        ),
        "wsram": wsram.Config(
            **recurrent, **reads, core="lstm", context=J, grid=cells, seen=J, runs=3
        ),
        "tnet": tnet.Config(
            classes=C,
            channels=n,
            backbone="efficientnet",
            base=max(L, 36),  # a smaller one has no map of 3 x 3
            **traversal(task),
            width=1 / 4,
            blocks="small",
        ),
        "saccader": saccader.Config(
            classes=C, channels=n, glimpses=K, width=1 / 8, blocks="small"
        ),
        "ps-nogs": partial_supervision.Config(**recurrent, scales=3, grid=cells),
        "sampler": zoom_classifier.ClassifierConfig(
            size=(even(math.sqrt(K) * L),) * 2,
            look=J,
            classes=C,
            channels=n,
            width=WIDTH,
            look_width=WIDTH,
        ),
        "attention-sampling": attention_sampling.Config(
            **net, **windows, proxy=J, glimpses=K
        ),
        "patch-selection": patch_selection.Config(**net, **windows, kept=K),
    }


LONG = 8  # times as many steps, of `AGAIN` on the smallest canvases
AGAIN = ("saccading", "dram", "wsram", "tnet")

# What reads so many pixels that `STEPS` would take it much longer than the others gets
# fewer steps: as many as fit into about a minute of one core, in batches of the number
# of images behind the stroke.
FEWER = {
    ("full", "canvas-512"): (150, 32),
    ("full", "canvas-2528"): (50, 4),
    ("tiles", "canvas-512"): (450, 32),
    ("tiles", "canvas-2528"): (300, 32),
    ("saccader", "canvas-128"): (200, 32),
    ("saccader", "canvas-512"): (40, 8),
    ("saccader", "mosaics"): (150, 32),
    ("saccader", "scenes"): (50, 32),
    ("patch-selection", "canvas-512"): (650, 32),
    ("patch-selection", "canvas-2528"): (400, 32),
}
# Saccader's maps of one image at 2528 take more memory than this book's machines have
# to spare for it: the chapter counts them.
LEFT_OUT = {("saccader", "canvas-2528")}
NATIVE = ("full", "saccader")


def schedule(method: str, task: str) -> Schedule:
    """Of a row."""
    of = STEPS if TASKS[task].data == "canvases" else PICTURES
    steps, batch = FEWER.get((method, task), (of.steps, of.batch))
    return replace(of, steps=steps, batch=batch, validate_every=steps // 2)


def row(method: str, task: str, model: object) -> OnArena:
    """A method on a task."""
    large = method in NATIVE and TASKS[task].side > 500
    return OnArena(
        model=model,
        schedule=schedule(method, task),
        task=task,
        native=method in NATIVE,
        told=method == "ps-nogs",
        soft=method == "saccading",
        validation=50 if large else 200,
        test=200 if large else 1_000,
    )


def rows() -> dict[str, dict[str, OnArena]]:
    """``METHOD-TASK`` at `quick` and `standard`."""
    found = {}
    for task, of in TASKS.items():
        for method, model in configs(of).items():
            if (method, task) in LEFT_OUT:
                continue
            run = row(method, task, model)
            steps = 4 if (method, task) in FEWER else 40
            short = replace(run.schedule, steps=steps, batch=8, validate_every=steps)
            found[f"{method}-{task}"] = {
                "quick": replace(
                    run, schedule=short, seeds=(0,), validation=20, test=20
                ),
                "standard": run,
            }
    for method in AGAIN:
        by_profile = found[f"{method}-canvas-128"]
        found[f"{method}-long-canvas-128"] = {
            profile: replace(
                run, schedule=replace(run.schedule, steps=LONG * run.schedule.steps)
            )
            for profile, run in by_profile.items()
        }
    return found


ROWS = rows()
