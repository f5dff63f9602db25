"""Rows of near-optimal glimpses: g is trained, settled, judged; the job is timed."""

from dataclasses import replace

import pytest
import torch
from test_digits import embedded

from saccade_lib.annotation import job
from saccade_lib.data import birds
from saccade_lib.data.files import MissingData
from saccade_lib.models import avp
from saccade_lib.runs import find, train
from saccade_lib.runs.near_optimal_glimpses import ROWS, speed, worth
from saccade_lib.sequences import Cached, Settings, first_map

PAPER = "near-optimal-glimpses"


@pytest.fixture(autouse=True)
def small_digits(monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture(scope="module")
def outcome():
    run = ROWS["g-set-digits-0"]["quick"]
    schedule = replace(run.schedule, steps=40, validate_every=40)
    run = replace(run, schedule=schedule, validation=120, test=100)
    return train(run, 0, progress=False, pack=embedded())


def test_the_network_is_settled_and_measured_at_each_t(outcome):
    assert not torch.equal(outcome.model.temperature, torch.ones(5))
    units = {name: m["unit"] for name, m in outcome.metrics.items()}
    for t in range(1, 6):
        assert units[f"test_accuracy_{t}"] == "%"
        assert units[f"test_entropy_{t}"] == units[f"test_cross_entropy_{t}"] == "nats"
    last = outcome.metrics["test_accuracy_5"]["value"]
    assert outcome.metrics["test_accuracy"]["value"] == last


def test_it_is_trained_on_one_fold_only():
    run = ROWS["g-set-digits-0"]["quick"]
    pack = embedded()
    stream = run.canvases(pack, "train", 0)
    assert set(stream.images.fold.tolist()) == {0}
    other = replace(run, fold=1).canvases(pack, "train", 0)
    assert not set(stream.images.id.tolist()) & set(other.images.id.tolist())


def test_birds_of_other_species_are_refused():
    run = find(PAPER, "g-set-birds-0--standard--0").experiment
    with pytest.raises(MissingData, match="tells 41 species, not the 16"):
        run.canvases(birds.drawn(), "train", 0)


def test_worth_measures_what_it_says(outcome, monkeypatch, tmp_path):
    monkeypatch.setattr(job, "posterior", lambda row, profile: outcome.model)
    config = replace(ROWS["worth-digits"]["quick"].config, images=12, others=6)
    found = worth.measure(config, 0, torch.device("cpu"), tmp_path)
    metrics = {name: m["value"] for name, m in found.metrics.items()}
    assert metrics["own_out"] == 0 < metrics["own_in"]
    assert metrics["ess_in"] < metrics["ess_out"]
    assert metrics["gap_in"] < metrics["gap_out"]
    gap = metrics["designed_accuracy"] - metrics["random_accuracy"]
    assert abs(metrics["gain"] - gap) < 1e-4
    assert len(found.curves["ess"]) == len(found.curves["designed_accuracy"]) == 5


def test_left_in_the_map_is_nearly_that_of_the_true_image(outcome):
    run = ROWS["g-set-digits-0"]["quick"]
    some = run.part(embedded(), "train").of_fold(1).take(torch.arange(60))
    base = job.Database(some.pixels(), some.id, outcome.model.grid)
    scorer = Cached(outcome.model, base)
    assert first_map(scorer, Settings()).shape == (36,)
    places = torch.tensor([[14, 21], [8, 9]])
    settings = Settings(completions=8, ess=2.0)
    both = worth.left_in(scorer, some.pixels()[:2], some.id[:2], places, settings)
    true = both["true"]["maps"]
    for k in range(2):
        at = torch.cat((places[k], torch.tensor([30])))[None]
        p = outcome.model.predict(some.pixels()[[k]], at).probabilities
        assert torch.isclose(true[k, 30], avp.entropy(p)[0], atol=1e-5)
    assert (both["out"]["own"] == 0).all() and (both["in"]["own"] > 0.3).all()


def test_the_job_is_timed_with_its_files(outcome, monkeypatch, tmp_path):
    """On digits, where no pack is needed; birds differ in nothing but size."""
    monkeypatch.setattr(job, "posterior", lambda row, profile: outcome.model)
    config = speed.Speed("digits", "quick", "g-cnn-digits-0", queries=1, count=6)
    found = speed.measure(config, 0, torch.device("cpu"), tmp_path).metrics
    assert found["job_images"]["value"] == 6
    # The first map of each fold, then four maps of at most 8 completions an image.
    most = 2 * 100 * 36 + 6 * 4 * 8 * 36
    assert 2 * 100 * 36 < found["job_evaluations"]["value"] * 1e6 <= most
    assert found["speed_up_plain"]["value"] > 1
    assert found["bits_1"]["value"] <= 1 and found["repeats"]["value"] == 0
