"""Objectives, rules and the map, against loops and other parts of the book."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from saccade_lib import estimators, idea_map, toy_designs, toy_rules, toys
from saccade_lib import toy_methods as toy

DOUBLE = torch.float64


@pytest.fixture(params=[0, 1])
def world(request):
    return toy.random_world(request.param, N=5, n=3)


@pytest.fixture
def log_pi(world):
    return world.policy(normal(2, 3, seed=9))


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=DOUBLE)


def answers(world, i, places):
    """p(y | l, x_i) at each of some places."""
    y = int(world.label[i])
    return [float(world.scores[i, at].softmax(dim=0)[y]) for at in places]


def test_shapes_are_checked():
    world = toy.random_world(0)
    with pytest.raises(ValueError, match=r"scores \(N, n, Y\) and label"):
        replace(world, label=world.label[:2])


def test_same_seed_same_world():
    one, two, other = (toy.random_world(seed) for seed in (3, 3, 4))
    assert torch.equal(one.scores, two.scores) and torch.equal(one.label, two.label)
    assert not torch.equal(one.scores, other.scores)
    assert math.isclose(float(one.chance.sum()), 1)


def test_policy_sees_the_copy_alone(world, log_pi):
    for i, j in product(range(5), repeat=2):
        same = bool(world.proxy[i] == world.proxy[j])
        assert torch.equal(log_pi[i], log_pi[j]) == same
    assert len(set(world.seen_whole().proxy.tolist())) == 5


def test_objectives_are_sums_over_places(world, log_pi):
    for i in range(5):
        p, each = log_pi[i].exp().tolist(), answers(world, i, range(3))
        pairs = list(zip(p, each, strict=True))
        right = [
            float(world.scores[i, at].argmax() == world.label[i]) for at in range(3)
        ]
        expected = {
            toy.likelihood: math.log(sum(a * b for a, b in pairs)),
            toy.jensen: sum(a * math.log(b) for a, b in pairs),
            toy.reward: sum(a * b for a, b in zip(p, right, strict=True)),
        }
        for objective, value in expected.items():
            assert math.isclose(float(objective(world, log_pi)[i]), value, abs_tol=1e-9)


@pytest.mark.parametrize("K", [1, 2, 3])
def test_weighted_draws_are_a_sum_over_all_sequences(world, log_pi, K):
    log_q = normal(5, 3, seed=2).log_softmax(dim=1)
    found = toy.importance(world, log_pi, K, log_q)
    for i in range(5):
        each, total = answers(world, i, range(3)), 0.0
        for places in product(range(3), repeat=K):
            q = [float(log_q[i, at].exp()) for at in places]
            w = [
                float(log_pi[i, at].exp()) * each[at] / b
                for at, b in zip(places, q, strict=True)
            ]
            total += math.prod(q) * math.log(sum(w) / K)
        assert math.isclose(float(found[i]), total, abs_tol=1e-9)


def test_sequences_are_drawn_as_they_should_be(world, log_pi):
    for again in (True, False):
        grown, log_each = toy.sequences(world, log_pi, 2, again)
        assert torch.allclose(log_each.exp().sum(dim=1), torch.ones(5, dtype=DOUBLE))
    pairs = toy.tuples(3, 2, again=False)
    p = log_pi[0].exp()
    for (a, b), chance, scores in zip(
        pairs.tolist(), log_each[0].exp(), grown.scores[0], strict=True
    ):
        assert torch.isclose(chance, p[a] * p[b] / (1 - p[a]))
        assert torch.allclose(scores, world.scores[0, [a, b]].mean(dim=0))


def test_ladders_rise_to_their_ends():
    for seed in range(20):
        world = toy.random_world(seed)
        log_pi = world.policy(normal(2, 4, seed=seed))
        ladders = {
            toy.likelihood: [toy.importance(world, log_pi, K) for K in (1, 2, 3)],
            toy.features: [
                toy.jensen(*toy.sequences(world, log_pi, K, again=True))
                for K in (1, 2, 3)
            ],
        }
        for end, rungs in ladders.items():
            rungs = torch.stack([*rungs, end(world, log_pi)])
            assert torch.allclose(rungs[0], toy.jensen(world, log_pi))
            assert (rungs.diff(dim=0) > -1e-12).all()


def test_selection_of_all_is_attention_over_all(world, log_pi):
    every = toy.features(world, log_pi)
    assert torch.allclose(toy.selected(world, log_pi, 3), every)
    top = world.scores[torch.arange(5), log_pi.argmax(dim=1)].log_softmax(dim=1)
    only = toy.selected(world, log_pi, 1)
    assert torch.allclose(only, top[torch.arange(5), world.label])


def test_copy_and_label_agree_with_the_model_of_glances():
    """One glance of `toys.Glances` is a world of one image."""
    model = toys.glances(T=1, side=2, classes=3, seed=4)
    (prior, seen), y, log_q = model.steps()[0], 1, normal(4, seed=1).log_softmax(0)
    one = torch.ones(1, dtype=DOUBLE)
    scores = (model.crops @ model.reader.T)[None]
    none = torch.zeros(1, dtype=torch.long)
    world = toy.World(scores, torch.tensor([y]), none, one)
    decoder = torch.stack((seen, (1 - seen.exp()).log()), dim=1)  # this copy, another
    joint = toy.log_joint(world, prior, decoder)
    assert torch.isclose(joint[0], model.log_label(y) + model.log_proxy())
    bound = sum(toy.elbo(world, log_q[None], prior, decoder))[0]
    by_hand = toys.expect(log_q, model.log_class(y)) - toys.kl(
        log_q, model.log_places()
    )
    assert torch.isclose(bound, by_hand + model.log_proxy())


def test_entropy_of_the_best_reader_is_the_designers():
    bed = toy_designs.gamma_bed(3)
    world = toy.of_bed(bed)
    assert torch.allclose(toy.epe(world)[0], bed.epe_over_patches())
    assert torch.allclose(toy.epe(world)[0], -world.mean(world.log_true))


def test_climbing_finds_the_best_place(world):
    end = toy.climb(
        lambda a: world.mean(toy.jensen(world, world.policy(a))), normal(2, 3)
    )
    for c in range(2):
        here = world.proxy == c
        best = (world.chance[here] @ world.log_true[here]).argmax()
        assert end[c].softmax(dim=0)[best] > 0.98


def bench(seed):
    world = toy.random_world(seed, N=1, n=4, m=1)
    log_q = (world.log_true[0] + normal(4, seed=seed)).log_softmax(dim=0)
    return toy_rules.Bench(world, normal(4, seed=seed + 50), log_q)


def test_unbiased_rules_are_those_of_the_map():
    worst = {}
    for seed in range(12):
        one = bench(seed)
        for name, rule in one.rules().items():
            assert math.isclose(float(rule.chance.sum()), 1), name
            judged = toy_rules.judge(rule, one.logits)
            worst[name] = max(worst.get(name, 0.0), judged.bias)
    assert {name for name, bias in worst.items() if bias < 1e-12} == idea_map.UNBIASED


def test_judgement_is_that_of_a_loop():
    one = bench(1)
    rule = one.rules()["0/1, leave one out"]
    grads = []
    for places in rule.places:
        leaf = one.logits.clone().requires_grad_()
        log_p = leaf.log_softmax(dim=0)[places]
        reward = one.world.right[0, places]
        loss = -((reward - reward.flip(0)) * log_p).mean()
        grads.append(-torch.autograd.grad(loss, leaf)[0])
    mean, variance = toys.moments(torch.stack(grads), rule.chance)
    judged = toy_rules.judge(rule, one.logits)
    assert torch.allclose(judged.mean, mean)
    assert math.isclose(judged.variance, float(variance), rel_tol=1e-9)


def test_a_bench_takes_one_image():
    with pytest.raises(ValueError, match="one image, got 6"):
        toy_rules.Bench(toy.random_world(0), normal(4), normal(4))


def test_order_of_values():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])
    assert idea_map.order(low, high) == "below"
    assert idea_map.order(high, low) == "no order"  # above is no bound
    assert idea_map.order(low, low.flip(0)) == "no order"
    assert idea_map.order(low, low) == "equal"


def test_every_bound_has_the_order_that_the_map_says():
    found = {name: ([], []) for name in idea_map.BOUNDS}
    for seed in range(60):
        world = toy.random_world(seed)
        more = {
            "prior": normal(4, seed=seed),
            "decoder": normal(4, 2, seed=seed),
            "proposal": normal(6, 4, seed=seed),
            "places": torch.arange(6) % 4,
        }
        pairs = idea_map.values(world, normal(2, 4, seed=seed), more)
        assert set(pairs) == set(found)
        for name, pair in pairs.items():
            for kept, value in zip(found[name], pair, strict=True):
                kept.append(value)
    for name, pair in found.items():
        order = idea_map.order(*(torch.cat(part) for part in pair))
        assert order == idea_map.BOUNDS[name].order, name


def test_map_speaks_of_what_there_is():
    names = [m.name for m in idea_map.METHODS]
    assert len(set(names)) == len(names)
    for m in idea_map.METHODS:
        assert {m.derived, m.raised} <= set(idea_map.BOUNDS)
        assert m.rule in idea_map.RULES and m.reads in idea_map.READS
    rules = bench(0).rules()
    assert all(name in rules for way in idea_map.RULES.values() for name in way.rules)
    assert set(idea_map.READERS) - set(names) == {"whole image"}


def test_only_what_reads_everything_grows():
    by_name = {m.name: m.reads for m in idea_map.METHODS} | {"whole image": "all"}
    for name in idea_map.READERS:
        small, large = (idea_map.entering(name, S) for S in (64, 128))
        assert (small == large) == (by_name[name] != "all"), name
    with pytest.raises(ValueError, match="method"):
        idea_map.entering("RAN", 64)


def test_map_is_drawn_with_every_name():
    fig = idea_map.draw()
    drawn = " ".join(text.get_text() for text in fig.axes[0].texts)
    for m in idea_map.METHODS:
        assert m.name.split()[0] in drawn


def test_attention_sampling_estimates_the_mean_features_without_bias():
    """What is biased is the class of the mean, not the mean."""
    one = bench(2)
    pairs, weight = toys.every(toys.repeat(one.log_p, 2))
    scores = one.world.scores[0]
    assert torch.allclose(weight @ scores[pairs].mean(dim=1), one.log_p.exp() @ scores)

    def loss(L):
        log_p = L.log_softmax(dim=1).gather(1, pairs)
        share = (log_p - log_p.detach()).exp() / 2
        return -(share * scores[pairs][..., 0]).sum(dim=1).mean()

    each = estimators.estimates(loss, one.logits.expand(len(pairs), -1))
    wanted = toy_rules.slope(lambda a: a.softmax(dim=0) @ scores[:, 0], one.logits)
    assert torch.allclose(weight @ each, wanted)
