"""The enumerable model, against loops over every place and proxy."""

import math
from itertools import product

import pytest
import torch

from saccade_lib import toys

DOUBLE = torch.float64


@pytest.fixture(params=[1, 2, 3])
def toy(request):
    return toys.glances(T=request.param, seed=5)


def policy(T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*(9,) * i, generator=generator, dtype=DOUBLE)
        for i in range(1, T + 1)
    ]


def test_chain_is_the_product_of_its_steps():
    first, second = policy(2)
    table = toys.chain([first, second]).exp()
    assert torch.isclose(table.sum(), torch.ones((), dtype=DOUBLE))
    by_hand = first.softmax(0)[4] * second[4].softmax(0)[7]
    assert torch.isclose(table[4, 7], by_hand)
    with pytest.raises(
        ValueError, match=r"step 2 needs logits with 2 axes, got \(9,\)"
    ):
        toys.chain([first, first])


def test_joint_is_a_distribution_over_places_and_proxies(toy):
    joint = toy.log_joint()
    assert joint.shape == (9, 3) * toy.T
    assert math.isclose(float(joint.exp().sum()), 1, rel_tol=1e-12)


def test_crops_are_the_cells_of_the_image(toy):
    for place, (row, column) in enumerate(product(range(3), range(3))):
        cell = toy.image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.allclose(toy.crops[place], cell.flatten(), atol=1e-6)


def test_label_is_a_sum_over_all_places(toy):
    """Equation 2 with loops in place of broadcasting."""
    total = torch.zeros(3, dtype=DOUBLE)
    evidence = 0.0
    for places in product(range(9), repeat=toy.T):
        log_p, past = 0.0, ()
        for z, prior, decoder in zip(places, toy.prior, toy.decoder, strict=True):
            log_p += float(prior[past].log_softmax(dim=0)[z])
            log_p += float(decoder[past][z].log_softmax(dim=0)[toy.proxy])
            past += (z, toy.proxy)
        scores = sum(toy.reader @ toy.crops[z] for z in places)
        total += math.exp(log_p) * scores.softmax(dim=0)
        evidence += math.exp(log_p)
    assert math.isclose(math.log(evidence), float(toy.log_proxy()), rel_tol=1e-10)
    for y in range(3):
        expected = float((total[y] / evidence).log())
        assert math.isclose(float(toy.log_label(y)), expected, rel_tol=1e-10)


def test_steps_are_the_conditionals_of_the_vrnn(toy):
    total = 0.0
    for log_prior, log_decoder in toy.steps():
        total = torch.as_tensor(total, dtype=DOUBLE)[..., None] + log_prior
        total = total + log_decoder
    assert torch.allclose(total, toy.log_vrnn(), atol=1e-12)


def test_gap_of_the_bound_is_the_divergence_from_the_posterior(toy):
    for q in (toys.chain(policy(toy.T)), toy.log_places(), toy.log_posterior(1)):
        bound = toys.expect(q, toy.log_class(1)) - toys.kl(q, toy.log_places())
        gap = toys.kl(q, toy.log_posterior(1))
        assert math.isclose(float(bound + gap), float(toy.log_label(1)), rel_tol=1e-10)
    assert abs(float(gap)) < 1e-12  # of the last, the posterior


def test_draws_come_from_the_table():
    q = toys.chain(policy(2))
    places = toys.draw(q, 50_000, torch.Generator().manual_seed(1))
    assert places.shape == (50_000, 2)
    table = torch.randn(9, 9, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    drawn = toys.at(table, places)
    error = float(drawn.std()) / len(drawn) ** 0.5
    assert abs(float(drawn.mean() - toys.expect(q, table))) < 4 * error
    assert drawn[3] == table[places[3, 0], places[3, 1]]


def test_score_function_gradient_by_enumeration_is_autograd():
    """What a later estimator is held against: grad E f = E f grad log q."""
    logits = [table.requires_grad_() for table in policy(2)]
    reward = toys.glances(T=2).log_class(0)
    q = toys.chain(logits)
    exact = torch.autograd.grad(toys.expect(q, reward), logits, retain_graph=True)
    score = torch.autograd.grad(toys.expect(q.detach(), reward * q), logits)
    for a, b in zip(exact, score, strict=True):
        assert a.any() and torch.allclose(a, b, atol=1e-12)


def test_the_same_seed_makes_the_same_toy():
    one, two, other = toys.glances(seed=3), toys.glances(seed=3), toys.glances(seed=4)
    assert torch.equal(one.log_joint(), two.log_joint())
    assert not torch.equal(one.log_joint(), other.log_joint())
    bright = one.image.unflatten(1, (3, 2)).sum(dim=(0, 2)).argmax()
    assert int(bright) == one.proxy


def test_every_sequence_of_independent_draws_has_its_probability():
    logits = torch.tensor([0.3, -1.0, 0.5], dtype=DOUBLE)
    places, weight = toys.every(toys.repeat(logits, 2))
    assert [tuple(pair) for pair in places.tolist()] == [*product(range(3), repeat=2)]
    p = logits.softmax(dim=0)
    assert torch.allclose(weight, p[places].prod(dim=1))
    single, weight = toys.every(toys.repeat(logits, 1))
    assert single.shape == (3, 1) and torch.allclose(weight, p)


def test_moments_are_mean_and_trace_of_the_covariance():
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double()
    mean, variance = toys.moments(values)
    assert torch.allclose(mean, values.mean(dim=0))
    trace = values.T.cov(correction=0).trace()
    assert torch.isclose(variance, trace)
    weight = torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0], dtype=DOUBLE)
    mean, variance = toys.moments(values, weight)
    assert torch.allclose(mean, values[:2].mean(dim=0))
    assert torch.isclose(variance, (values[0] - values[1]).square().sum() / 4)


def test_rewards_between_the_corners_meet_them():
    bed, corners = toys.five(), torch.eye(5, dtype=DOUBLE)
    for between in (bed.linear, bed.curved):
        assert torch.allclose(between(corners), bed.value)
    middle = torch.full((5,), 0.2, dtype=DOUBLE)
    assert not torch.isclose(bed.linear(middle), bed.curved(middle))


def test_second_look_knows_what_the_first_saw():
    bed = toys.looks(seed=2)
    first, second = bed.steps()
    for place in range(4):
        seen = int(bed.image[place])
        assert torch.equal(second[place], bed.second[seen, place])
    assert math.isclose(toys.chain([first, second]).exp().sum(), 1, rel_tol=1e-12)
    assert bed.reward.min() >= 0 and bed.reward.max() <= 1
    assert torch.equal(bed.reward, toys.looks(seed=2).reward)
    assert not torch.equal(bed.reward, toys.looks(seed=3).reward)
