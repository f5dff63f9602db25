"""Rules beside TNet's own: against enumeration, and against what they begin as."""

from itertools import combinations, permutations

import pytest
import torch

from saccade_lib import estimators
from saccade_lib.models import tnet, tnet_beyond

K, k = 5, 3
DRAWS = torch.tensor([*permutations(range(K), k)])  # (60, 3), in the order drawn


def logits():
    draw = torch.Generator().manual_seed(3)
    return torch.randn(K, generator=draw, dtype=torch.float64).requires_grad_()


def log_p_of_draws(scores):
    every = scores.log_softmax(dim=0).expand(len(DRAWS), K)
    return estimators.ordered_log_probs(every, DRAWS).sum(dim=1)


def rewards(seed=4):
    """R of each cell, and R of each ordered draw, the same in every order."""
    draw = torch.Generator().manual_seed(seed)
    of_cell = torch.rand(K, generator=draw, dtype=torch.float64)
    of_set = {s: torch.rand((), generator=draw) for s in combinations(range(K), k)}
    both = torch.stack([of_set[tuple(sorted(d))] for d in DRAWS.tolist()])
    return of_cell, both.double()


def test_a_set_has_the_probability_of_all_its_orders():
    scores = logits().detach()
    log_p = scores.log_softmax(dim=0)
    sets = torch.tensor([*combinations(range(K), k)])
    found = tnet_beyond.set_log_prob(log_p.expand(len(sets), K), sets).exp()
    assert float(found.sum()) == pytest.approx(1)
    each = log_p_of_draws(scores).exp()
    for value, members in zip(found, sets, strict=True):
        orders = (DRAWS.sort(dim=1).values == members).all(dim=1)
        assert float(value) == pytest.approx(float(each[orders].sum()))
    p = log_p.exp()[sets]
    torch.testing.assert_close(found, estimators.set_prob(p))


def test_a_set_is_exact_where_one_cell_is_all_but_certain():
    log_p = torch.tensor([30.0, 0.0, 1.0, 2.0]).log_softmax(dim=0).requires_grad_()
    found = tnet_beyond.set_log_prob(log_p, torch.tensor([0, 2, 3]))
    wide = log_p.detach().double()
    exact = tnet_beyond.set_log_prob(wide, torch.tensor([0, 2, 3]))
    assert float(found.detach()) == pytest.approx(float(exact), abs=1e-4)
    found.backward()
    assert torch.isfinite(log_p.grad).all()


def each_gradient(scores, part):
    """Minus the slope of one of the two losses, for every ordered draw, ``(60, K)``."""
    of_cell, of_draw = rewards()
    found = []
    for draw, R in zip(DRAWS, of_draw, strict=True):
        log_p = scores.log_softmax(dim=0)[None]
        chosen = draw.sort().values[None]  # TNet notes them in grid order
        given = R.view(1, 1), of_cell[chosen], torch.tensor(0.5)
        loss = tnet_beyond.of_sets(log_p, chosen, *given)[part]
        found.append(-torch.autograd.grad(loss, scores)[0])
    return torch.stack(found)


def test_both_parts_are_unbiased():
    scores = logits()
    of_cell, of_draw = rewards()
    p = log_p_of_draws(scores).exp()
    (of_sets,) = torch.autograd.grad((p * of_draw).sum(), scores)
    one = (scores.softmax(dim=0) * of_cell).sum()
    (of_one,) = torch.autograd.grad(one, scores)
    weight = log_p_of_draws(scores).exp().detach()
    for part, wanted in ((0, of_sets), (1, of_one)):
        mean = weight @ each_gradient(scores, part)
        torch.testing.assert_close(mean, wanted, rtol=1e-9, atol=1e-12)


def test_forgetting_the_order_takes_noise_away():
    scores = logits()
    _, of_draw = rewards()
    weight = log_p_of_draws(scores).exp().detach()
    ordered = torch.stack(
        [
            (R - 0.5) * torch.autograd.grad(log_p, scores, retain_graph=True)[0]
            for R, log_p in zip(of_draw, log_p_of_draws(scores), strict=True)
        ]
    )
    of_sets = each_gradient(scores, 0)
    torch.testing.assert_close(weight @ ordered, weight @ of_sets)
    noise = [weight @ (g - weight @ g).square() for g in (ordered, of_sets)]
    assert (noise[1] < noise[0]).all()


# ---- In the model


def built(seed=0, **more):
    torch.manual_seed(seed)
    small = {"width": 1 / 16, "grid": 3, "cell": 1 / 3} | more
    return tnet.TNet(tnet.mini(4, channels=1, base=45, **small)).train()


def batch(count=6):
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(count, 1, 135, 135, generator=draw)
    return {"image": image, "label": torch.arange(count) % 4}


def test_the_model_trains_by_sets():
    model = built(log_prob="unordered", choice="sample", normalise=False)
    torch.manual_seed(5)
    terms = model.loss(batch()).terms
    model.baseline.fill_(0.5)
    torch.manual_seed(5)
    seen = model.traverse(batch()["image"], sample=True)
    label = batch()["label"]
    R = (model.classify(seen.vectors.mean(dim=1)).argmax(dim=1) == label)[:, None]
    each = model.classify(seen.vectors[:, 1:]).argmax(dim=2) == label[:, None]
    level = seen.levels[0]
    both, single = tnet_beyond.of_sets(
        level.log_p[:, 0], level.chosen[:, 0], R.float(), each.float(), model.baseline
    )
    torch.testing.assert_close(terms["places"], 0.1 * 0.3 * both)
    torch.testing.assert_close(terms["places_each"], 0.1 * 0.7 * single)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"locations": (1,)}, "2 to 6 locations"),
        ({"locations": (2, 2)}, "two levels"),
        ({"locations": (7,)}, "2 to 6 locations"),
        ({"regularised": 1}, "regularised must be 2 or more"),
    ],
)
def test_sets_that_are_none_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        built(log_prob="unordered", **more)


def test_a_learned_weighting_begins_as_the_mean():
    model, plain = built(pool="weighted"), built()
    with torch.no_grad():
        vectors = model.traverse(batch()["image"]).vectors
    torch.testing.assert_close(model.join(vectors), plain.join(vectors))
    assert torch.equal(plain.join(vectors), vectors.mean(dim=1))


def test_a_learned_weighting_learns_and_forgets_the_order():
    model = built(pool="weighted")
    model.loss(batch()).terms["class"].backward()
    assert model.pool.score.weight.grad.abs().sum() > 0
    torch.nn.init.normal_(model.pool.score.weight)
    with torch.no_grad():
        vectors = model.traverse(batch()["image"]).vectors
        turned = vectors[:, torch.randperm(vectors.shape[1])]
        torch.testing.assert_close(model.join(vectors), model.join(turned))
        weights = model.pool.weights(vectors)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(vectors), 1))
