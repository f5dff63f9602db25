"""Rows of Table 2: what is counted is what predictions say; stages share weights."""

from dataclasses import replace

import pytest
import torch
from test_fmow import copy  # noqa: F401
from test_mosaics import pictures  # noqa: F401

from saccade_lib.data import door, fmow
from saccade_lib.models import efficientnet, tnet
from saccade_lib.runs import on_mosaics
from saccade_lib.runs.experiment import build, train
from saccade_lib.runs.on_mosaics import AT, OnFMoW, OnMosaics, total
from saccade_lib.runs.tnet.satellite import FIRST, LEVELS, MODEL, ROWS
from saccade_lib.train import Schedule

TINY = OnMosaics(
    model=MODEL,
    schedule=Schedule(steps=2, batch=4, validate_every=2),
    validation=10,
    test=20,
)
DEEP = replace(TINY, model=LEVELS, side=192, coarse=4, tested=AT)


def test_locations_count_all_squares():
    assert [total(at) for at in AT] == [0, 1, 2, 3, 4, 6]
    assert total((2, 3, 1)) == 2 + 6 + 6


@pytest.mark.parametrize("run", [TINY, DEEP], ids=["two levels", "three"])
def test_a_row_trains_and_is_tested_at_all_numbers_of_locations(run, pictures):  # noqa: F811
    outcome = train(run, seed=0, pack=pictures, progress=False)
    metrics = {name: m["value"] for name, m in outcome.metrics.items()}
    k = total(run.model.locations)
    assert metrics["test_accuracy"] == metrics[f"test_accuracy_{k}"]
    batch = run.canvases(pictures, "test", 0).batch(torch.arange(20))
    for at in AT[: 4 if run is TINY else 6]:
        seen = outcome.model.predict(batch["image"], locations=at)
        right = (seen.probabilities.argmax(dim=1) == batch["label"]).float().mean()
        found = metrics[f"test_accuracy_{total(at)}"]
        assert found == pytest.approx(100 * float(right), abs=1e-3)


def test_what_the_small_view_shows_is_what_the_first_level_reads(pictures):  # noqa: F811
    small = replace(TINY, read="small").canvases(pictures, "test", 0)
    whole = TINY.canvases(pictures, "test", 0)
    index = torch.arange(3)
    read = build(TINY, 0).eval().traverse(whole.batch(index)["image"], ()).levels[0]
    assert torch.equal(read.crops[:, 0], small.batch(index)["image"])


def test_each_row_of_the_table_is_of_the_papers_sizes():
    large = {name: of["paper"] for name, of in ROWS.items() if "paper" in of}
    assert {name: run.side for name, run in large.items()} == {
        "tnet-satellite": 448,
        "levels-satellite": 896,
        "b0-object-satellite": 224,
        "b0-small-satellite": 224,
        "b0-half-satellite": 448,
        "b0-whole-satellite": 896,
    }
    assert large["b0-object-satellite"].boxes and large["levels-satellite"].second
    assert FIRST.locations == (2,) and tnet.FMOW.locations == (2, 1)


def test_a_row_on_fmow_needs_a_copy_and_its_second_stage_the_first(
    copy,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    small = replace(FIRST, classes=2, width=1 / 4, blocks="small", base=48, picked=None)
    run = OnFMoW(model=small, schedule=TINY.schedule, side=96, validation=4, test=4)
    monkeypatch.delenv(on_mosaics.FMOW, raising=False)
    with pytest.raises(door.MissingData, match="set SACCADE_FMOW to your copy"):
        run.find(quiet=True)
    pack = fmow.fmow(copy, partial=True, quiet=True)
    first = train(run, seed=0, pack=pack, progress=False, folder=tmp_path / "first")
    assert {"test_accuracy_3", "test_top5_0", "test_hit_rate_1"} <= set(first.metrics)

    second = replace(run, model=replace(small, locations=(2, 1)), side=192, second=True)
    monkeypatch.delenv(on_mosaics.FIRST, raising=False)
    with pytest.raises(door.MissingData, match="set SACCADE_FMOW_FIRST"):
        build(second, 0)
    made = tmp_path / "first" / "checkpoint.safetensors"
    monkeypatch.setenv(on_mosaics.FIRST, str(made))
    begun = build(second, 0)
    for name, value in begun.state_dict().items():
        assert torch.equal(value, first.model.state_dict()[name])
    batch = second.canvases(pack, "test", 0).batch(torch.arange(2))
    assert begun.predict(batch["image"]).location.shape == (2, 4, 2)

    b0 = efficientnet.Config(classes=2, width=1 / 4, blocks="small")
    whole = replace(run, model=b0, boxes=True, side=48)
    assert "test_top5" in train(whole, seed=0, pack=pack, progress=False).metrics
