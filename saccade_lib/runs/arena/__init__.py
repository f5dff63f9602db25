"""Rows of "One arena": fifteen ways to read an image, on five tasks.

``METHOD-TASK``. All rows of a task train on as many images, but for those that read so
many pixels that they could not: `FEWER` says which, and how many they get.
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


def configs(task: Task) -> dict[str, object]:
    """The model of each method."""
    C, n, K, J, L = task.classes, task.channels, task.glimpses, task.proxy, task.size
    s, S = task.scale, task.seen
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
            scale=(max(s, 0.5), max(s, 0.5)),
            narrow_to=s,
            narrow_during=(0.25, 0.75),
        ),
        "ram": recurrent_attention.Config(
            **recurrent, **reads, core="rnn", scales=3, weight=1.0
        ),
        "dram": recurrent_attention.Config(
            **recurrent, **reads, core="lstm", context=J, weight=1.0
        ),
        "wsram": wsram.Config(
            **recurrent, **reads, core="lstm", context=J, grid=cells, seen=J, runs=4
        ),
        "tnet": tnet.Config(
            classes=C,
            channels=n,
            backbone="efficientnet",
            base=L,
            locations=(K,),
            grid=3,
            cell=0.4,
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
