"""Rows that traverse: what is counted is what one-by-one predictions give."""

from dataclasses import replace

import pytest
import torch
from test_digits import embedded

from saccade_lib.data import imagenet
from saccade_lib.models import bagnet, tnet
from saccade_lib.models.tnet_parts import grid_over
from saccade_lib.runs import on_traversal
from saccade_lib.runs.experiment import build, train
from saccade_lib.runs.on_traversal import LOCATIONS, OnDigitCells, OnPictures
from saccade_lib.runs.tnet import digits, photographs, recipe
from saccade_lib.train import Schedule

TINY = OnDigitCells(
    "single",
    model=tnet.mini(10, channels=1, base=45, width=1 / 16),
    schedule=Schedule(steps=2, batch=4, validate_every=2),
    side=132,
    digit=24,
    clutter=4,
    validation=10,
    test=20,
)
SHOWN = OnPictures(
    model=tnet.mini(25, base=45, width=1 / 16),
    schedule=TINY.schedule,
    side=132,
    picture=70,
    validation=10,
    test=20,
)


@pytest.fixture(autouse=True)
def no_packs(monkeypatch, tmp_path):
    for name in ("SACCADE_DATA", "SACCADE_DOWNLOAD", imagenet.FOLDER, imagenet.WORKERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))


def untrained(places="learned", seed=1):
    model = build(replace(TINY, model=replace(TINY.model, places=places)), seed)
    return model.eval()


@pytest.mark.parametrize("places", ["learned", "oracle", "centre"])
def test_one_traversal_counts_what_a_prediction_at_each_number_says(places):
    model = untrained(places)
    stream = TINY.canvases(embedded(), "test", 0)
    found = TINY.evaluate(model, stream, 20, "cpu")
    batch = stream.batch(torch.arange(20))
    for k in LOCATIONS:
        seen = model.predict(batch["image"], batch=batch, locations=(k,))
        p, label = seen.probabilities, batch["label"]
        right = (p.argmax(dim=1) == label).float().mean()
        assert found[f"accuracy_{k}"] == pytest.approx(100 * float(right), abs=1e-4)
        five = (p.topk(5).indices == label[:, None]).any(dim=1).float().mean()
        assert found[f"top5_{k}"] == pytest.approx(100 * float(five), abs=1e-4)
        if k:
            away = (seen.location - batch["centre"]).abs().amax(dim=2)
            hit = (away <= seen.scale).any(dim=1).float().mean()
            assert found[f"hit_rate_{k}"] == pytest.approx(100 * float(hit), abs=1e-4)
    assert found["accuracy"] == found["accuracy_3"]
    if places == "oracle":
        assert found["hit_rate_1"] == 100


@pytest.mark.parametrize("name", ["saccader", "dram"])
def test_the_rivals_count_what_a_prediction_at_each_number_says(name):
    model = recipe.rivals(TINY.model)[name]
    run = replace(TINY, model=replace(model, width=1 / 16))
    net, stream = build(run, 1).eval(), TINY.canvases(embedded(), "test", 0)
    found = run.evaluate(net, stream, 6, "cpu")
    batch = stream.batch(torch.arange(6))
    for k in (1, 3, 8):
        seen = net.predict(batch["image"], glimpses=k)
        right = (seen.probabilities.argmax(dim=1) == batch["label"]).float().mean()
        assert found[f"accuracy_{k}"] == pytest.approx(100 * float(right), abs=1e-4)
        away = (seen.location - batch["centre"]).abs().amax(dim=2)
        hit = (away <= seen.scale).any(dim=1).float().mean()
        assert found[f"hit_rate_{k}"] == pytest.approx(100 * float(hit), abs=1e-4)
    assert found["accuracy"] == found["accuracy_3"]


def test_without_the_whole_image_the_cells_are_classified_alone():
    model = untrained("oracle")
    batch = TINY.canvases(embedded(), "test", 0).batch(torch.arange(20))
    with torch.no_grad():
        seen = model.traverse(batch["image"], (1,), batch=batch)
        answer = model.classify(seen.levels[1].vectors[:, 0]).argmax(dim=1)
    alone = 100 * float((answer == batch["label"]).float().mean())
    found = TINY.evaluate(model, TINY.canvases(embedded(), "test", 0), 20, "cpu")
    assert found["attended_1"] == pytest.approx(alone, abs=1e-4)


def test_the_covered_share_is_a_count_of_pixels():
    model = untrained("random")
    image = torch.rand(6, 1, 132, 132)
    with torch.no_grad():
        seen = model.traverse(image, (3,))
    grid = grid_over(132, 5, 77 / 224)
    padded = 132 - grid.first
    canvas = torch.zeros(6, padded, padded)
    for b in range(6):
        for x, y in (seen.levels[1].corner[b] - grid.first).tolist():
            canvas[b, y : y + grid.patch, x : x + grid.patch] = 1
    found = on_traversal.covered(seen.levels[1].corner, seen, model.config)
    assert torch.allclose(found, canvas.mean(dim=(1, 2)))
    one = on_traversal.covered(seen.levels[1].corner[:, :1], seen, model.config)
    assert torch.allclose(one, torch.tensor(45**2 / 133**2))


def test_true_cells_are_shown_at_the_start_of_training_alone():
    shown = replace(TINY, model=replace(TINY.model, shown=0.5))
    model = build(shown, 1)
    batch = TINY.canvases(embedded(), "train", 0).batch(torch.arange(20))
    hits = {}
    for progress in (0.0, 0.49, 0.5, 0.9):
        terms = model.train().loss(batch | {"progress": progress}).terms
        assert set(terms) == {"class", "each", "places", "places_each"}
        hits[progress] = bool(terms["places_each"] != 0)
    assert list(hits.values()) == [False, False, True, True]
    seen = model.traverse(batch["image"], (1,), batch=batch | {"progress": 0.0})
    assert ((seen.location - batch["centre"]).abs().amax(2) <= seen.scale).all()
    model.eval()  # nobody shows anything when it is tested
    told = model.predict(batch["image"], batch=batch | {"progress": 0.0})
    alone = model.predict(batch["image"])
    assert torch.equal(told.location, alone.location)


def test_random_places_are_the_same_in_each_evaluation():
    model, stream = untrained("random"), TINY.canvases(embedded(), "test", 0)
    before = torch.get_rng_state()
    one, two = (TINY.evaluate(model, stream, 20, "cpu") for _ in range(2))
    assert one == two and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("run", [TINY, SHOWN], ids=["digits", "pictures"])
def test_a_row_trains_and_says_what_it_was_made_on(run):
    done = train(run, 0, progress=False)
    assert {f"test_accuracy_{k}" for k in LOCATIONS} <= set(done.metrics)
    assert done.pack.source in ("sklearn-digits", "embedded-pieces")
    whole = bagnet.Config(run.model.classes, run.model.channels, 1 / 16, "small")
    done = train(replace(run, model=whole), 0, progress=False)
    assert set(done.metrics) == {"test_accuracy", "test_top5"}
    assert done.metrics["test_accuracy"]["value"] <= done.metrics["test_top5"]["value"]


def test_shares_of_a_batch_average_to_the_gradient_of_the_whole():
    """What `torchrun` does: TNet's loss has no term that couples images."""
    batch = TINY.canvases(embedded(), "train", 0).batch(torch.arange(8))
    made = []
    for parts in ([slice(0, 8)], [slice(0, 8, 2), slice(1, 8, 2)]):
        model = untrained().train()
        for part in parts:
            model.baseline.fill_(0.5)
            share = {name: value[part] for name, value in batch.items()}
            (model.loss(share).total / len(parts)).backward()
        made.append([p.grad for p in model.parameters()])
    for one, two in zip(*made, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_at_paper_the_rows_are_the_papers_and_need_imagenet():
    run = photographs.ROWS["tnet-imagenet"]["paper"]
    assert run.model == tnet.IMAGENET and run.side == 224 and not run.picture
    schedule = run.schedule
    assert schedule.steps * schedule.batch // 1_281_167 in (199, 200)
    assert schedule.factor(0) == schedule.factor(int(0.79 * schedule.steps)) == 1
    assert schedule.factor(int(0.81 * schedule.steps)) == 0.1
    with pytest.raises(imagenet.MissingData, match=imagenet.FOLDER):
        run.find(quiet=True)


def test_the_digits_are_in_the_papers_proportions():
    run = digits.RUN
    small, large = grid_over(run.side, 5, 77 / 224), grid_over(224, 5, 77 / 224)
    assert small.patch == run.model.base and large.patch == tnet.IMAGENET.base
    assert (small.first, large.first) == (-1, -1)  # the added row and column
    assert run.digit < small.patch < 2 * run.digit
