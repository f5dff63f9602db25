"""Rows at 2528: what reads by windows computes what holds the image would compute."""

from dataclasses import replace

import pytest
import torch
from test_digits import embedded

from saccade_lib import cost
from saccade_lib.data.digits import Canvases, Windows
from saccade_lib.models.baselines import CropsConfig, ProxyConfig
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import Config, VariationalSaccading
from saccade_lib.runs.experiment import build, evaluate, train
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.variational_saccading import large
from saccade_lib.train import Schedule

SMALL = Config(
    classes=55, proxy=8, glimpses=2, size=8, scale=(0.3, 0.3), features=8, hidden=8
)
SAME = dict(task="identification", side=90, enlarge=240)
INDEX = torch.arange(6)


@pytest.fixture(autouse=True)
def small_digits(monkeypatch, tmp_path):
    """The embedded digits, whatever this machine has."""
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.delenv("SACCADE_DOWNLOAD", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))


def both():
    """One network twice, with batches that hold images and batches that do not."""
    torch.manual_seed(0)
    whole, sparse = VariationalSaccading(SMALL), ByWindows(SMALL)
    sparse.load_state_dict(whole.state_dict())
    images = Canvases(embedded(), **SAME).batch(INDEX)
    windows = Windows(embedded(), **SAME, proxy=8).batch(INDEX)
    return (whole, images), (sparse, windows)


def test_reading_by_windows_changes_neither_loss_nor_gradient():
    found = []
    for net, batch in both():
        torch.manual_seed(1)
        loss = net.loss(batch)
        loss.total.backward()
        grads = {name: p.grad for name, p in net.named_parameters()}
        found.append((loss.terms, grads))
    (terms, grads), (terms_2, grads_2) = found
    for name in terms:
        assert torch.allclose(terms[name], terms_2[name], atol=1e-4), name
    for name in grads:
        assert torch.allclose(grads[name], grads_2[name], rtol=1e-2, atol=1e-4), name
    assert grads["posterior.2.weight"].abs().max() > 0


def test_windows_send_no_slope_to_the_places_where_they_are_detached():
    slopes = []
    for sampler in ("bilinear", "detached"):
        net, batch = both()[1]
        deaf = ByWindows(replace(net.config, sampler=sampler))
        deaf.load_state_dict(net.state_dict())
        torch.manual_seed(1)
        term = deaf.loss(batch).terms["class"]
        named = dict(deaf.named_parameters())
        grads = torch.autograd.grad(term, list(named.values()), allow_unused=True)
        slopes.append((term.item(), dict(zip(named, grads, strict=True))))
    (term, heard), (same, unheard) = slopes
    assert term == same
    assert heard["posterior.2.weight"].abs().max() > 0
    assert all(
        (slope is None) == (not name.startswith(("read_crop", "classify")))
        for name, slope in unheard.items()
    )
    with pytest.raises(ValueError, match="sampler"):
        ByWindows(replace(SMALL, sampler="mask"))


@pytest.mark.parametrize("sample", [False, True])
def test_reading_by_windows_changes_no_prediction(sample):
    seen = []
    for net, batch in both():
        torch.manual_seed(2)
        seen.append(net.predict(batch["image"], sample, batch))
    assert torch.allclose(seen[0].location, seen[1].location, atol=1e-5)
    assert torch.allclose(seen[0].crops, seen[1].crops, atol=1e-4)
    assert torch.allclose(seen[0].probabilities, seen[1].probabilities, atol=1e-4)


def test_a_batch_that_cannot_be_read_is_refused_and_nothing_is_kept():
    net, batch = both()[1]
    with pytest.raises(ValueError, match="no 'crop'"):
        net.predict(batch["image"])
    net.predict(batch["image"], batch=batch)
    assert not hasattr(net, "_crop")


@pytest.mark.parametrize(
    "places, windows", [("learned", "soft"), ("random", "full"), ("oracle", "level")]
)
def test_a_row_that_reads_by_windows_trains(places, windows):
    run = OnDigits(
        "identification",
        model=replace(SMALL, places=places),
        schedule=Schedule(steps=4, batch=8, validate_every=2),
        side=300,
        digit=42,
        clutter=0,
        windows=windows,
        validation=20,
        test=30,
    )
    done = train(run, 0, progress=False)
    assert 0 <= done.metrics["test_accuracy"]["value"] <= 100
    assert done.costs["seconds_per_epoch"]["value"] > 0
    again = build(run, 0)
    again.load_state_dict(done.model.state_dict())
    unseen = run.canvases(embedded(), "test", 0)
    accuracy = evaluate(again, unseen, 30)["accuracy"]
    assert accuracy == done.metrics["test_accuracy"]["value"]


def test_the_proxy_s_classifier_trains_on_the_same_batches():
    run = OnDigits(
        "sum",
        model=ProxyConfig(19, proxy=16, width=4, features=8),
        schedule=Schedule(steps=2, batch=8, validate_every=2),
        side=300,
        digit=42,
        windows="full",
        validation=20,
        test=30,
    )
    assert train(run, 0, progress=False).fit.images == 16


BASELINE = CropsConfig(55, width=4, hidden=8, crop=64)
COSTS = large.Costs(
    SMALL,
    BASELINE,
    replace(BASELINE, checkpoint=True, segment=1),
    sides=(100, 140),
    batch=2,
    repeats=1,
)


def test_costs_are_measured_at_every_side():
    found = large.measure(COSTS, 0, torch.device("cpu"), None)
    assert found.curves["side"] == [100, 140]
    assert found.curves["crops"] == [4, 9]
    assert all(min(column) > 0 for column in found.curves.values())
    (first, last), (image, image_2) = (
        found.curves[name] for name in ("naive_mib", "image_mib")
    )
    assert (last - image_2) / (first - image) == pytest.approx(9 / 4)
    kept = found.costs["naive_kept"]["value"]
    assert kept == pytest.approx(160 * last / 1024)
    ratio = found.curves["naive_seconds"][-1] / found.curves["saccading_seconds"][-1]
    assert found.metrics["speed_up_naive"]["value"] == pytest.approx(ratio)
    assert found.data["source"] == "sklearn-digits"


def test_what_is_kept_is_what_autograd_keeps():
    """One crop's count times their number, against the whole, to the dense layers."""
    bench = large.Bench(COSTS, torch.device("cpu"), embedded(), 0)
    row, batch = large.counts(bench, 100), bench.batch(100, 2)
    whole = cost.saved_activations(lambda: bench.naive.loss(batch), bench.naive)
    image = row["image_mib"] * cost.MIB
    assert row["naive_mib"] * cost.MIB - image == pytest.approx(whole / 2, rel=0.05)
    seen = cost.saved_activations(lambda: bench.saccading.loss(batch), bench.saccading)
    assert row["saccading_mib"] * cost.MIB == pytest.approx(seen / 2) and seen > image


def test_quick_costs_have_as_many_crops_as_the_paper():
    rows = large.ROWS["cost-2528"]
    crops = {
        large.number_of_crops(rows[p].config.naive, rows[p].config.sides[-1])
        for p in ("quick", "standard", "paper")
    }
    assert crops == {144}
