"""Rows on photographs train on composites, and on a reader's copy of FiveK."""

from dataclasses import replace

import pytest
from test_composites import embedded
from test_photos import copy  # noqa: F401, a fixture

from saccade_lib.models import baselines
from saccade_lib.models.variational_saccading import Config
from saccade_lib.runs.experiment import train
from saccade_lib.runs.on_photographs import FIVEK, OnPhotographs
from saccade_lib.runs.variational_saccading import photographs
from saccade_lib.train import Schedule

TINY = OnPhotographs(
    model=Config(
        classes=6,
        channels=3,
        proxy=8,
        glimpses=2,
        size=8,
        scale=(0.4, 0.4),
        features=8,
        hidden=8,
    ),
    schedule=Schedule(steps=2, batch=8, validate_every=2),
    side=1280,
    validation=12,
    test=12,
)
CROPS = replace(
    TINY,
    model=baselines.CropsConfig(6, channels=3, width=4, hidden=8, crop=20),
    whole=80,
)


@pytest.fixture(autouse=True)
def no_packs(monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.delenv(FIVEK, raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))


@pytest.mark.parametrize("places", ["learned", "random", "oracle"])
def test_a_saccading_row_trains_on_composites(places):
    run = replace(TINY, model=replace(TINY.model, places=places))
    done = train(run, 0, progress=False, pack=embedded())
    assert 0 <= done.metrics["test_hit_rate"]["value"] <= 100
    assert done.pack.source == "embedded-composites"


def test_both_baselines_train_on_the_same_canvases():
    proxy = replace(TINY, model=baselines.ProxyConfig(6, 3, proxy=8, width=4))
    for run in (CROPS, proxy):
        done = train(run, 0, progress=False, pack=embedded())
        assert set(done.metrics) == {"test_accuracy"}


def test_with_a_copy_of_fivek_the_same_rows_run_on_it(copy, monkeypatch):  # noqa: F811
    monkeypatch.setenv(FIVEK, str(copy))
    for run in (TINY, CROPS):
        done = train(run, 0, progress=False)
        assert done.pack.source == "mit-adobe-5k"
        assert "test_hit_rate" not in done.metrics
        seen = done.metrics["test_accuracy"]["value"] / 100 * len(done.pack.of("test"))
        assert seen == pytest.approx(round(seen))  # each photograph counts once


def test_the_oracle_looks_at_the_object_and_patches_at_all_three():
    rows = photographs.ROWS
    looks = {
        name: rows[f"{name}-photographs"]["standard"].model.glimpses
        for name in ("saccading", "random", "patches", "oracle")
    }
    assert looks == {"saccading": 3, "random": 3, "patches": 3, "oracle": 1}
    widths = {
        rows[f"{name}-photographs"]["standard"].model.scale[0]
        for name in ("random", "patches", "oracle")
    }
    assert widths == {photographs.SMALL.narrow_to}
