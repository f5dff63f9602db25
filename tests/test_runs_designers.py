"""The measurement of better designers: what it reports, and that it repeats."""

from dataclasses import replace

import pytest
import torch

from saccade_lib.annotation import job
from saccade_lib.models.avp import Avp
from saccade_lib.runs.near_optimal_glimpses import ROWS, designers
from saccade_lib.sequences import Cached, Settings, first_map


@pytest.fixture
def on(monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))
    config = ROWS["beyond-designer-digits"]["quick"].config
    torch.manual_seed(0)
    g = Avp(ROWS["g-set-digits-0"]["quick"].model).eval()
    monkeypatch.setattr(job, "posterior", lambda row, profile: g)
    few = Settings(glimpses=3, completions=8, ess=4.0)
    config = replace(config, images=6, queries=4, database=40, start=20, settings=few)
    return config, designers.bench(config, 1)[0]


def test_every_question_is_answered_and_the_same_seed_gives_the_same(on):
    config, _ = on
    one, other = (
        designers.measure(config, 1, torch.device("cpu"), None) for _ in range(2)
    )
    assert one.metrics == other.metrics and one.curves == other.curves
    found = {name: m["value"] for name, m in one.metrics.items()}
    assert all(v == v for v in found.values())  # no nan
    for name in (
        "ahead_3_minus_greedy_entropy_error",
        "random_3_accuracy",
        "label_minus_entropy_0.33_cross_entropy",
        "differ_3",
        "regret_8",
        "ess_4_promised",
        "coarse_regret",
    ):
        assert name in found
    assert found["greedy_3_evaluations"] < found["ahead_3_evaluations"]
    assert found["regret_8"] >= 0 and found["coarse_lost"] >= 0
    assert found["ess_4_agree"] == 100  # the map that it is held against
    assert 25 <= found["coarse_tried"] <= 100 * 33 / 36
    assert len(one.curves["regret"]) == len(config.counts)


def test_test_images_do_not_complete_themselves_and_are_new_to_g(on):
    _, bench = on
    assert not set(bench.some.id.tolist()) & set(bench.base.ids.tolist())
    assert bench.labels.shape == (bench.base.M,)
    assert (bench.some.fold == -1).all()


def test_paired_differences_have_their_own_error():
    one = {what: torch.tensor([1.0, 2.0, 4.0]) for what in designers.UNITS}
    other = {what: torch.tensor([0.0, 1.0, 3.0]) for what in designers.UNITS}
    found = designers.compared("gap", one, other)
    assert found["gap_entropy"][0] == 1 and found["gap_entropy_error"][0] == 0


def test_more_completions_make_a_map_that_is_nearer_to_that_of_all(on):
    config, bench = on
    scorer = Cached(bench.g, bench.base)
    places = bench.made(scorer, first_map(scorer, bench.settings))[:, :2]
    true, _ = designers.maps_of(bench, scorer, places, 2_048, 4.0)
    again, cost = designers.maps_of(bench, scorer, places, 2_048, 4.0)
    assert torch.equal(true, again) and cost <= 40 * 36
    assert torch.isinf(true.gather(1, places)).all()
    off = []
    for N in (2, 32):
        maps, _ = designers.maps_of(bench, scorer, places, N, 4.0)
        off.append(float((maps - true)[torch.isfinite(true)].abs().mean()))
    assert off[1] < off[0]
    assert designers.against(true, true.argmin(dim=1)) == (100.0, 0.0)
