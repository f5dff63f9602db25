"""Rows beside TNet's own: each differs in what it says; stops end rightly."""

from dataclasses import asdict, replace

import pytest
import torch
from test_mosaics import pictures  # noqa: F401
from test_runs_satellite import TINY

from saccade_lib.runs.experiment import batches_of, build, train
from saccade_lib.runs.recorder import described
from saccade_lib.runs.tnet import beyond, stopping
from saccade_lib.runs.tnet.satellite import MODEL


def test_each_variant_differs_in_what_it_says():
    usual = asdict(MODEL)
    differences = {
        name: {key for key, v in asdict(model).items() if v != usual[key]}
        for name, model in beyond.variants().items()
    }
    free = {"normalise", "temperature"}
    assert differences == {
        "together": {"lambda_c", "lambda_r"},
        "temperature": free,
        "sample": free | {"choice"},
        "ordered": free | {"choice", "log_prob"},
        "unordered": free | {"choice", "log_prob"},
        "unit-ordered": {"choice", "log_prob"},
        "weighted": {"pool"},
        "likelihood": {"reward"},
    }


@pytest.mark.parametrize("name", ["unordered", "weighted"])
def test_each_variant_trains_and_tells_where_it_looks(name, pictures):  # noqa: F811
    run = replace(TINY, model=beyond.variants()[name])
    outcome = train(run, seed=0, pack=pictures, progress=False)
    assert outcome.metrics["test_policy_entropy"]["unit"] == "bit"
    assert outcome.metrics["test_accuracy_shuffled"]["unit"] == "%"
    assert set(outcome.fit.curves) >= {"class", "each", "places", "places_each"}


@pytest.mark.parametrize("name", beyond.variants())
def test_each_variant_has_all_terms(name):
    run = replace(TINY, model=beyond.variants()[name])
    image = torch.rand(4, 3, 144, 144, generator=torch.Generator().manual_seed(0))
    loss = build(run, 0).train().loss({"image": image, "label": torch.arange(4)})
    assert set(loss.terms) == {"class", "each", "places", "places_each"}
    assert all(torch.isfinite(term) for term in loss.terms.values())
    assert loss.terms["places"].requires_grad


# ---- Stops

J = 3


def data(seed=0, count=300):
    """The answer is right from some number on, and so is the class's probability."""
    draw = torch.Generator().manual_seed(seed)
    found_at = torch.randint(J + 1, (count, 1), generator=draw)
    right = (torch.arange(J + 1) >= found_at).float()  # (N, 1 + J)
    best = 0.4 + 0.5 * right + 0.05 * torch.rand(count, J + 1, generator=draw)
    p = torch.stack((best, 1 - best), dim=2)
    return stopping.Known(p, torch.zeros(count, J), right)


def test_a_learned_stop_goes_on_until_the_answer_is_right():
    fit, test = data(), data(1)
    stop = stopping.learn(fit, price=0.1)
    numbers = stopping.learned_numbers(stop, test)
    wanted = test.right.argmax(dim=1)
    assert float((numbers == wanted).float().mean()) > 0.95
    assert stopping.right_at(test, numbers) > 95
    assert stopping.dealt(test, numbers) < 75


def test_at_a_price_above_all_gain_nothing_is_read():
    stop = stopping.learn(data(), price=2.0)
    assert float(stopping.learned_numbers(stop, data(1)).float().mean()) < 0.05


def test_the_threshold_keeps_to_the_number_that_is_wanted():
    fit = data()
    for wanted in (0.0, 1.5, float(J)):
        threshold = stopping.fitted_threshold(fit, wanted)
        numbers = stopping.confident_numbers(fit, threshold)
        assert float(numbers.float().mean()) == pytest.approx(wanted, abs=0.1)
    never = stopping.confident_numbers(fit, 1.01)
    assert (never == J).all()
    assert (stopping.confident_numbers(fit, 0.0) == 0).all()


def test_numbers_dealt_at_random_are_right_as_often_as_a_slow_count():
    test = data(2, count=20)
    numbers = torch.arange(20) % (J + 1)
    every = [float(row[n]) for row in test.right for n in numbers.tolist()]
    assert stopping.dealt(test, numbers) == pytest.approx(100 * sum(every) / len(every))


def test_prefixes_are_what_predictions_say(pictures):  # noqa: F811
    model = build(TINY, 1).eval()
    canvases = TINY.canvases(pictures, "test", 0)
    found = stopping.known(model, batches_of(canvases, 20), J)
    batch = canvases.batch(torch.arange(20))
    for j in range(J + 1):
        seen = model.predict(batch["image"], locations=(j,))
        torch.testing.assert_close(found.probabilities[:, j], seen.probabilities)


def test_a_stop_is_measured_at_every_price(pictures, tmp_path, monkeypatch):  # noqa: F811
    config = stopping.Stopping(TINY, fitted=20, prices=(0.0, 0.1))
    monkeypatch.setattr(type(TINY), "find", lambda self, quiet: pictures)
    found = stopping.measure(config, 0, torch.device("cpu"), tmp_path)
    assert found.curves["price"] == [0.0, 0.1]
    assert {len(column) for column in found.curves.values()} == {2}
    assert found.costs["multiplications_location"]["value"] > 0
    row = beyond.ROWS["stop-satellite"]["standard"]
    assert described(row)["config"]["kind"] == "runs.tnet.stopping.Stopping"
