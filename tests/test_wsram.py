"""Wake-sleep on recurrent attention: each phase against all sequences of cells."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from saccade_lib import estimators
from saccade_lib.models import wsram
from saccade_lib.models.wsram import Config, Wsram

# Two decisions among four cells: 16 sequences, so that all of them can be summed.
SMALL = Config(3, glimpses=3, size=4, width=16, features=8, grid=2, seen=8, runs=4)
BLIND = replace(SMALL, glimpses=2, core="lstm", context=8)  # the first place, too
CONFIGS = [SMALL, replace(SMALL, core="gru"), BLIND]


def made(config: Config = BLIND, seed: int = 0) -> Wsram:
    """A model that prefers some cells, and whose proposal prefers others."""
    torch.manual_seed(seed)
    model = Wsram(config).double()
    for head in (model.policy.head[-1], model.proposal.head):
        torch.nn.init.normal_(head.weight, std=0.7)
        torch.nn.init.normal_(head.bias, std=0.7)
    for part in (model.read, model.core, model.classify):
        for weight in part.parameters():  # what is seen depends on the place
            weight.data.mul_(3.0)
    return model


def batch(B=1, C=1, H=12, W=12) -> dict:
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(B, C, H, W, generator=generator, dtype=torch.float64)
    return {"image": image, "label": torch.arange(B) % 3}


def all_sequences(model: Wsram, x: dict) -> dict[str, torch.Tensor]:
    """log p(l), log p(y | l), log q(l) and log r(l) of the 16 sequences, ``(16,)``."""
    D = model.proposal.D
    cells = torch.tensor([*itertools.product(range(4), repeat=D)])  # (16, D)
    image = x["image"].expand(len(cells), -1, -1, -1)
    ahead = []

    def choose(log_p, d):
        ahead.append(log_p.detach())
        return cells[:, d]

    trace = model.run(image, choose=choose)
    log_q = model.proposal(x["image"], x["label"]).expand(len(cells), -1, -1)
    log_p_y = model._log_p(trace.state)[:, 0, x["label"][0]]
    p, q = torch.stack(ahead, dim=1).exp(), log_q.detach().exp()
    r = (1 - model.config.safe) * q + model.config.safe * p
    return {
        "l": trace.log_prob.sum(dim=1),
        "y": log_p_y,
        "q": wsram._taken(log_q, cells),
        "r": r.gather(2, cells[..., None])[..., 0].log().sum(dim=1),
        "cells": cells,
    }


def exact(term, model, part) -> torch.Tensor:
    """The slope of a scalar in a part of the model, as one vector."""
    weights = [p for p in getattr(model, part).parameters()]
    found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    pairs = zip(found, weights, strict=True)
    flat = [torch.zeros_like(w) if g is None else g for g, w in pairs]
    return torch.cat([g.flatten() for g in flat])


def forced(model: Wsram, sequences) -> None:
    """The runs of the next loss take these cells, ``(K, D)``, and then whatever."""
    drawn = iter(torch.stack(sequences).T)  # a decision of all runs at a time
    draw = model.policy.__class__.sample

    def sample(log_p):
        taken = next(drawn, None)
        return draw(model.policy, log_p) if taken is None else taken

    model.policy.sample = sample


def expected(model: Wsram, x: dict, K: int, terms: tuple[str, ...], part: str):
    """The expected slope of some terms over all draws of K sequences from r."""
    model.config = replace(model.config, runs=K, sleep=0.0)
    of = all_sequences(model, x)
    total = 0.0
    for draw in itertools.combinations_with_replacement(range(len(of["r"])), K):
        orders = math.factorial(K)
        for k in set(draw):
            orders //= math.factorial(draw.count(k))
        chance = orders * float(of["r"][list(draw)].sum().exp())
        forced(model, [of["cells"][k] for k in draw])
        loss = model.loss(x)
        term = sum(loss.terms[name] for name in terms)
        total = total - chance * exact(term, model, part)
    del model.policy.sample
    return total


def share_of_pairs(of) -> torch.Tensor:
    """The expected weight of each sequence over all pairs of draws, ``(16,)``."""
    log_w, r = (of["l"] + of["y"] - of["r"]).detach(), of["r"].exp().detach()
    v = torch.sigmoid(log_w[:, None] - log_w)  # of the first of a pair
    return 2 * (r[:, None] * r * v).sum(dim=1)


# -------------------------------------------------------- the likelihood and its bound


@pytest.mark.parametrize("safe", [0.0, 0.5])
def test_draws_have_the_probability_that_the_weights_divide_by(safe):
    model, x = made(replace(BLIND, safe=safe)), batch()
    of = all_sequences(model, x)
    assert torch.isclose(of["r"].exp().sum(), torch.ones((), dtype=torch.float64))
    torch.manual_seed(0)
    N = 20_000
    image = x["image"].expand(N, -1, -1, -1)
    log_q = model.proposal(x["image"], x["label"]).expand(N, -1, -1)
    noted = []
    with torch.no_grad():
        trace = model.run(image, choose=model._chooser(log_q, noted))
    number = trace.action[:, 0] * 4 + trace.action[:, 1]
    share = torch.bincount(number, minlength=16) / N
    chance = of["r"].exp()
    assert (share - chance).abs().max() < 5 * (0.25 / N) ** 0.5
    noted = torch.stack(noted).sum(dim=0)
    assert torch.allclose(noted, of["r"][number])


def test_the_bound_is_below_the_likelihood_and_closer_with_more_runs():
    model, x = made(), batch()
    of = all_sequences(model, x)
    log_w, r = of["l"] + of["y"] - of["r"], of["r"].exp()
    whole = (of["l"] + of["y"]).logsumexp(dim=0)
    one = (r * log_w).sum()
    pair = torch.logaddexp(log_w[:, None], log_w) - math.log(2)
    two = (r[:, None] * r * pair).sum()
    assert one < two < whole - 1e-3


def test_a_loss_reports_the_bound_of_its_draw():
    model, x = made(replace(BLIND, runs=3)), batch()
    of = all_sequences(model, x)
    log_w = (of["l"] + of["y"] - of["r"])[[2, 7, 7]]
    forced(model, [of["cells"][k] for k in (2, 7, 7)])
    metrics = model.loss(x).metrics
    bound = log_w.logsumexp(dim=0) - math.log(3)
    assert torch.isclose(metrics["log_likelihood"], bound)
    v = log_w.softmax(dim=0)
    assert torch.isclose(metrics["effective_samples"], 1 / (v**2).sum())


@pytest.mark.parametrize("safe", [0.2, 0.5])
def test_no_weight_exceeds_its_bound_however_wrong_the_proposal(safe):
    model, x = made(replace(BLIND, safe=safe)), batch()
    model.proposal.head.bias.data.mul_(30)  # sure of the wrong cells
    of = all_sequences(model, x)
    w = (of["l"] + of["y"] - of["r"]).exp()
    assert (w <= of["y"].exp() / safe**2 + 1e-12).all()
    without = (of["l"] + of["y"] - of["q"]).exp()
    assert without.max() > 1e3 * w.max()


def test_with_the_posterior_as_proposal_all_weights_are_equal():
    """One decision, so that the posterior is a table that the proposal can hold."""
    model, x = made(replace(BLIND, glimpses=1, safe=0.0, runs=3)), batch()
    of = all_sequences(model, x)
    posterior = (of["l"] + of["y"]).log_softmax(dim=0).detach()  # (4,)
    model.proposal.head.weight.data.zero_()
    model.proposal.head.bias.data.copy_(posterior)
    whole = (of["l"] + of["y"]).logsumexp(dim=0)
    for seed in range(3):
        torch.manual_seed(seed)
        loss = model.loss(x)
        assert abs(loss.metrics["effective_samples"] - 3) < 1e-9
        assert torch.isclose(loss.metrics["log_likelihood"], whole)
        assert loss.terms["wake"].abs() < 1e-12  # nothing left to learn
    assert exact(loss.terms["wake"], model, "proposal").abs().max() < 1e-12


# ------------------------------------------------------------------------------ wake-p


@pytest.mark.parametrize("part", ["policy", "context", "classify"])
def test_wake_p_nears_the_slope_of_the_likelihood_with_more_runs(part):
    model, x = made(replace(BLIND, glimpses=1)), batch()
    of = all_sequences(model, x)
    wanted = exact((of["l"] + of["y"]).logsumexp(dim=0), model, part)
    errors = []
    for K in (2, 4, 8):
        found = expected(model, x, K, ("class", "places"), part)
        errors.append(float((found - wanted).norm() / wanted.norm()))
    assert errors[0] > errors[1] > errors[2] > 0
    # O(1/K) or better: twice the runs, at most about half the bias.
    assert all(a / b > 1.8 for a, b in itertools.pairwise(errors))


def test_wake_p_of_two_runs_is_their_weighted_slope():
    model, x = made(), batch()
    of = all_sequences(model, x)
    joint = (share_of_pairs(of) * (of["l"] + of["y"])).sum()
    for part in ("policy", "context", "core", "classify"):
        found = expected(model, x, 2, ("class", "places"), part)
        assert torch.allclose(found, exact(joint, model, part), atol=1e-12)
        assert found.abs().max() > 1e-4


def test_one_run_would_learn_no_place():
    """The weight of a single run is 1, and the mean score under p itself is 0."""
    model, x = made(), batch()
    of = all_sequences(model, x)
    mean = exact((of["l"].exp().detach() * of["l"]).sum(), model, "policy")
    assert mean.abs().max() < 1e-12
    assert estimators.normalised_weights(torch.randn(1, 3)).eq(1).all()


# ------------------------------------------------------------------------------ wake-q


def of_wake_q(model, x, K, centred):
    """Mean and summed variance of wake-q's slope in the proposal, over all draws."""
    of = all_sequences(model, x)
    log_w, q = (of["l"] + of["y"] - of["q"]).detach(), of["q"].exp()
    scores = torch.stack([exact(s, model, "proposal") for s in of["q"]])  # (16, P)
    mean, square = 0.0, 0.0
    for draw in itertools.product(range(len(q)), repeat=K):
        chance, draw = q[list(draw)].prod().detach(), list(draw)
        v = log_w[draw].softmax(dim=0) - centred / K
        slope = (v[:, None] * scores[draw]).sum(dim=0)
        mean, square = mean + chance * slope, square + chance * (slope**2).sum()
    return mean, float(square - (mean**2).sum())


def test_the_control_variate_leaves_wake_q_as_it_is_and_cuts_its_variance():
    model, x = made(replace(BLIND, safe=0.0)), batch()
    plain, wide = of_wake_q(model, x, 2, centred=False)
    centred, narrow = of_wake_q(model, x, 2, centred=True)
    assert torch.allclose(plain, centred, atol=1e-12)
    assert narrow < 0.7 * wide
    found = expected(model, x, 2, ("wake",), "proposal")  # the library's own
    assert torch.allclose(found, centred, atol=1e-12)


def test_a_safe_proposal_has_a_control_variate_of_its_own():
    """Under r the mean score of q is not 0; that of q / r times the score is."""
    model, x = made(replace(BLIND, safe=0.5)), batch()
    found = expected(model, x, 2, ("wake",), "proposal")
    of = all_sequences(model, x)
    drift = exact((of["r"].exp().detach() * of["q"]).sum(), model, "proposal")
    assert drift.abs().max() > 1e-3
    wanted = exact((share_of_pairs(of) * of["q"]).sum(), model, "proposal")
    assert torch.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("name, part", [("places", "policy"), ("wake", "proposal")])
@pytest.mark.parametrize("fresh, most", [(False, 0.9), (True, 1e-2)])
def test_control_variates_cut_the_variance_of_both_wake_phases(name, part, fresh, most):
    """Most where nothing has been learned: there nothing but noise is taken away."""
    config, x = replace(BLIND, sleep=0.0), batch()
    model = Wsram(config).double() if fresh else made(config)
    controlled = model._controlled

    def plain(weights, of, of_r):
        return -model._mean(weights, of.sum(dim=1))

    found = {controlled: [], plain: []}
    for way in found:
        model._controlled = way
        for seed in range(50):
            torch.manual_seed(seed)
            found[way].append(exact(model.loss(x).terms[name], model, part))
    less, more = (float(torch.stack(of).var(dim=0).sum()) for of in found.values())
    assert less < most * more


def test_wake_q_of_many_runs_follows_the_divergence_from_the_posterior():
    model, x = made(replace(BLIND, glimpses=1)), batch()
    of = all_sequences(model, x)
    posterior = (of["l"] + of["y"]).softmax(dim=0).detach()
    wanted = exact((posterior * of["q"]).sum(), model, "proposal")
    errors = [
        float((expected(model, x, K, ("wake",), "proposal") - wanted).norm())
        for K in (2, 4, 8)
    ]
    assert errors[0] > errors[1] > errors[2]


# ------------------------------------------------------------------------------- sleep


def test_sleep_is_unbiased_for_its_own_objective():
    """The mean of -log q(l | y, I) over the model's own places and labels."""
    model = made(replace(BLIND, glimpses=1, safe=0.0))
    x = batch()
    wanted = 0.0
    for label in range(3):
        of = all_sequences(model, x | {"label": torch.tensor([label])})
        joint = (of["l"] + of["y"]).exp().detach()
        wanted = wanted - (joint * of["q"]).sum()
    torch.manual_seed(0)
    image = x["image"].expand(20_000, -1, -1, -1)
    with torch.no_grad():
        found = model._sleep(image)
    assert (found - wanted).abs() < 0.03
    slope, true = (exact(t, model, "proposal") for t in (model._sleep(image), wanted))
    assert torch.nn.functional.cosine_similarity(slope, true, dim=0) > 0.99
    assert (slope - true).norm() < 0.05 * true.norm()


# --------------------------------------------------------- what learns from which term


def slopes(model, term) -> dict[str, float]:
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(term, weights, allow_unused=True, retain_graph=True)
    largest: dict[str, float] = {}
    for name, slope in zip(names, found, strict=True):
        part = name.split(".")[0]
        size = 0.0 if slope is None else float(slope.abs().max())
        largest[part] = max(size, largest.get(part, 0.0))
    return largest


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.core)
@pytest.mark.parametrize("safe", [0.0, 0.5])
def test_each_term_teaches_its_own_parts(config, safe):
    model = made(replace(config, safe=safe))
    terms = model.loss(batch(6)).terms
    assert set(terms) == {"class", "places", "wake", "sleep"}
    of_class, of_places = slopes(model, terms["class"]), slopes(model, terms["places"])
    assert of_class["policy"] == of_class["proposal"] == 0
    assert min(of_class["read"], of_class["core"], of_class["classify"]) > 0
    assert of_places["policy"] > 0
    assert of_places["read"] == of_places["classify"] == of_places["proposal"] == 0
    for name in ("wake", "sleep"):
        found = slopes(model, terms[name])
        assert found.pop("proposal") > 0
        assert not any(found.values())
    if config.context:
        assert of_class["context"] == 0 and of_places["context"] > 0
    else:
        assert of_places["core"] == 0


def test_there_is_no_baseline_and_every_weight_learns():
    model = made(SMALL)
    assert model.value is None
    model.loss(batch(6)).total.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_sleep_phase_has_a_weight():
    model, x = made(replace(SMALL, sleep=0.0)), batch(3)
    torch.manual_seed(0)
    none = model.loss(x).terms
    model.config = replace(model.config, sleep=2.0)
    torch.manual_seed(0)
    some = model.loss(x).terms
    assert none["sleep"] == 0 and some["sleep"] > 0
    assert all(torch.equal(none[k], some[k]) for k in ("class", "places", "wake"))


# ------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.core)
@pytest.mark.parametrize("B, C, H, W", [(1, 1, 12, 12), (3, 3, 10, 31), (2, 1, 40, 9)])
@pytest.mark.parametrize("K", [2, 5])
def test_any_image_and_any_number_of_runs(config, B, C, H, W, K):
    torch.manual_seed(0)
    model = Wsram(replace(config, channels=C, scales=2, runs=K))
    x = {"image": torch.rand(B, C, H, W), "label": torch.arange(B) % 3}
    loss = model.loss(x)
    loss.total.backward()
    D = config.glimpses - (0 if config.context else 1)
    log_q = model.proposal(x["image"], x["label"])
    assert log_q.shape == (B, D, 4)
    assert torch.allclose(log_q.exp().sum(dim=2), torch.ones(B, D))
    assert 1 <= float(loss.metrics["effective_samples"]) <= K + 1e-4
    seen = model.predict(x["image"], sample=True, runs=2)
    assert seen.probabilities.shape == (B, 3)
    assert seen.location.shape == (B, config.glimpses, 2)


def test_a_single_decision_is_enough():
    for config in (replace(SMALL, glimpses=2), replace(BLIND, glimpses=1)):
        model = Wsram(config)
        x = {"image": torch.rand(2, 1, 12, 12), "label": torch.tensor([0, 2])}
        assert model.loss(x).total.isfinite()
        assert model.proposal(**{"x": x["image"], "label": x["label"]}).shape[1] == 1


def test_runs_of_an_image_stay_together():
    """Weights are normalised over the runs of one image, not over the batch."""
    model = made(replace(BLIND, runs=2, sleep=0.0))
    x = batch(2)
    of = [all_sequences(model, {k: v[b : b + 1] for k, v in x.items()}) for b in (0, 1)]
    taken = [(0, 3), (0, 9), (1, 7), (1, 14)]  # rows of the batch, run by run
    forced(model, [of[b]["cells"][k] for b, k in taken])
    found = float(model.loss(x).terms["class"].detach())
    wanted = 0.0
    for b, pair in ((0, [3, 9]), (1, [7, 14])):
        log_w = (of[b]["l"] + of[b]["y"] - of[b]["r"])[pair]
        wanted -= (log_w.softmax(dim=0) * of[b]["y"][pair]).sum().item() / 2
    assert found == pytest.approx(wanted)


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(policy="gaussian"), "needs a learned grid policy and one target"),
        (dict(places="random"), "needs a learned grid policy and one target"),
        (dict(targets=3), "needs a learned grid policy and one target"),
        (dict(safe=1.0), r"safe must be in \[0, 1\), got 1.0"),
        (dict(safe=-0.1), r"safe must be in \[0, 1\), got -0.1"),
        (dict(runs=1), "runs must be 2 or more, got 1"),
        (dict(sleep=-1.0), "sleep must not be negative, got -1.0"),
        (dict(glimpses=1), "one glimpse without a context network has no place"),
        (dict(core="tree"), "core must be one of rnn, gru, lstm"),
    ],
)
def test_a_wrong_configuration_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_a_wrong_image_is_named():
    with pytest.raises(ValueError, match=r"expected images \(B, 1, H, W\)"):
        Wsram(SMALL).loss({"image": torch.rand(2, 3, 12, 12), "label": torch.zeros(2)})
