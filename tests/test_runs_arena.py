"""The arena: one budget for all, and measures that count what they say."""

from dataclasses import replace

import pytest
import torch
from test_runs import small_digits  # noqa: F401, the embedded digits for all
from torch import nn

from saccade_lib.data import door
from saccade_lib.models import recurrent_attention
from saccade_lib.runs import arena, find, on_arena
from saccade_lib.runs.experiment import build, train
from saccade_lib.runs.on_arena import TASKS, OnArena, pixels
from saccade_lib.train import Schedule

METHODS = tuple(arena.configs(TASKS["canvas-128"]))


def quick(method: str, task: str = "canvas-128") -> OnArena:
    return arena.ROWS[f"{method}-{task}"]["quick"]


def test_rows_of_a_task_differ_in_the_method_alone():
    for task in TASKS:
        named = {m: arena.ROWS.get(f"{m}-{task}") for m in METHODS}
        for method, row in named.items():
            if (method, task) in arena.LEFT_OUT:
                assert row is None
                continue
            run = row["standard"]
            assert run.task == task and run.seeds == (0, 1, 2)
            usual = named["oracle"]["standard"].schedule
            if (method, task) not in arena.FEWER:
                assert run.schedule == usual
            else:
                assert run.schedule.steps * run.schedule.batch < 32 * usual.steps
                assert run.schedule.rate == usual.rate
    assert find("side-by-side", "tnet-mosaics--standard--2").seed == 2


def test_windows_and_copies_are_the_same_for_all():
    for task in TASKS.values():
        for config in arena.configs(task).values():
            for name, value in (
                ("proxy", task.proxy),
                ("context", task.proxy),
                ("look", task.proxy),
                ("glimpses", task.glimpses),
                ("kept", task.glimpses),
            ):
                assert getattr(config, name, value) in (value, 0)
        assert task.side % task.level == 0 and 0 < task.scale <= 0.5


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_measured(method):
    run = replace(
        quick(method), schedule=Schedule(steps=2, batch=4, validate_every=2), test=10
    )
    found = train(replace(run, validation=10), 0, progress=False)
    assert 0 <= found.metrics["test_accuracy"]["value"] <= 100
    whole = method in ("full", "uniform", "tiles", "sampler")
    assert ("test_hit_rate" in found.metrics) != whole
    for name in ("multiplications", "inference_memory", "training_memory", "pixels"):
        assert found.costs[name]["value"] > 0
    if method == "oracle":
        assert found.metrics["test_hit_rate"]["value"] == 100


# First layers that the number of their channels does not tell: three scales with four
# pixels of each side by side, and a network with inner layers as narrow as an image.
FIRST = {"ram": "read.what.net.1", "tnet": "extract.stem.0"}


@pytest.mark.parametrize("method", METHODS)
def test_pixels_are_those_that_reach_a_first_layer(method):
    run = quick(method)
    model = build(run, 0).eval()
    batch = run.canvases(door.mnist(quiet=True), "test", 0).batch(torch.arange(1))
    seen, named = [], FIRST.get(method)

    def note(module, inputs):
        seen.append(inputs[0].numel())

    for name, part in model.named_modules():
        if not isinstance(part, nn.Conv2d):
            continue
        if name == named or (named is None and part.in_channels in (1, 3, 4)):
            part.register_forward_pre_hook(note)
    model.predict(batch["image"], batch=batch)
    if method == "oracle":
        assert sum(seen) == 3 * 24**2
    assert sum(seen) == pixels(run)[0], method


def test_pixels_behind_are_all_where_a_small_copy_is_read():
    assert pixels(quick("saccading", "canvas-2528"))[1] == 2528**2
    assert pixels(quick("random", "canvas-2528"))[1] == 3 * 192**2
    assert pixels(quick("full", "canvas-512")) == (512**2, 512**2)


def test_told_places_come_with_a_tenth_of_the_training_images():
    run = quick("ps-nogs")
    pack = door.mnist(quiet=True)
    made = run.canvases(pack, "train", 0).batch(torch.arange(40))
    known = made["places"][:, 0] >= 0
    assert known.nonzero()[:, 0].tolist() == [0, 10, 20, 30]
    cells = recurrent_attention.Grid(run.model).cells
    away = (cells[made["places"][known, 0]] - made["centre"][known, 0]).abs()
    step = cells[1, 0] - cells[0, 0]
    assert (away <= step / 2 + run.of.scale).all()  # the digit may lie at the border
    held_out = run.canvases(pack, "test", 0).batch(torch.arange(40))
    assert (held_out["places"] < 0).all()


def test_a_wider_window_is_read_from_a_smaller_level():
    x = torch.rand(1, 1, 64, 64)
    at, s = torch.zeros(1, 1, 2), torch.full((1, 1), 0.5)
    o = on_arena.from_level(x, at, s, 8)  # 32 pixels across, by fours
    middle = torch.nn.functional.avg_pool2d(x, 4)[..., 4:12, 4:12]
    fade = o[0, 0] / middle[0]
    assert fade.max() <= 1 and fade[0, 3, 3] > 0.9 and fade[0, 0, 0] < 0.05
    torch.testing.assert_close(fade[0], fade[0].T)
