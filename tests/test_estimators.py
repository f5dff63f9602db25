"""Learning rules against sums over all outcomes, or else their standard errors."""

import math
from functools import partial
from itertools import permutations

import pytest
import torch
from torch import nn

from saccade_lib import estimators, relaxations, toys

DOUBLE = torch.float64
BED = toys.five()
P, F, G = BED.p, BED.value, BED.gradient()
EYE = torch.eye(5, dtype=DOUBLE)


def rewarded(L, places, baseline=lambda reward: 0.0):
    log_p = L.log_softmax(dim=1).gather(1, places)
    return estimators.score(log_p, F[places], baseline(F[places])) / places.shape[1]


def exact(rule, places, weight):
    guess = estimators.estimates(rule, BED.logits.expand(len(places), -1))
    return toys.moments(guess, weight)


def tuples(M):
    return toys.every(toys.repeat(BED.logits, M))


def others(reward):
    return estimators.leave_one_out(reward.T).T


def own_mean(reward):
    return reward.mean(dim=1, keepdim=True)


def of_baseline(baseline, M=1):
    places, weight = tuples(M)
    rule = partial(rewarded, places=places, baseline=baseline)
    return exact(rule, places, weight)


def drawn(rule, count=40_000):
    """Mean, its standard errors, and variance of independent draws."""
    guess = estimators.estimates(rule, BED.logits.expand(count, -1))
    mean, variance = toys.moments(guess)
    return mean, guess.std(dim=0) / count**0.5, variance


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# ---- The bed of five places


def test_bed_is_the_printed_one():
    wanted = [0.259993, 0.157694, 0.095646, 0.428656, 0.058012]
    assert torch.allclose(P, torch.tensor(wanted).double(), atol=5.1e-7)
    assert math.isclose(BED.mean(), 0.445758, abs_tol=5e-7)
    wanted = [0.144099, -0.070293, 0.005188, -0.105345, 0.026352]
    assert torch.allclose(G, torch.tensor(wanted).double(), atol=5e-7)
    leaf = BED.logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(leaf.softmax(dim=0) @ F, leaf)
    assert torch.allclose(G, slope, atol=1e-15)


def test_estimates_are_the_gradients_of_single_draws():
    guess = estimators.estimates(
        partial(rewarded, places=torch.arange(5)[:, None]), BED.logits.expand(5, -1)
    )
    assert torch.allclose(guess, F[:, None] * (EYE - P), atol=1e-15)


B_STAR = float(
    (P * F * (EYE - P).square().sum(1)).sum() / (P @ (EYE - P).square().sum(1))
)


@pytest.mark.parametrize(
    ("baseline", "M", "variance"),
    [
        (lambda r: 0.0, 1, 0.251085),
        (lambda r: BED.mean(), 1, 0.079884),
        (lambda r: B_STAR, 1, 0.078306),
        (lambda r: 0.0, 2, 0.125542),
        (lambda r: BED.mean(), 2, 0.039942),
        (others, 2, 0.111816),
        (others, 4, 0.031950),
    ],
)
def test_unbiased_baselines(baseline, M, variance):
    mean, found = of_baseline(baseline, M)
    assert torch.allclose(mean, G, atol=1e-15)
    assert math.isclose(found, variance, abs_tol=5e-7)


def test_best_constant_is_the_printed_one_and_the_best():
    assert math.isclose(B_STAR, 0.492862, abs_tol=5e-7)
    least = of_baseline(lambda r: B_STAR)[1]
    for near in (B_STAR - 0.01, B_STAR + 0.01):
        assert of_baseline(lambda r, near=near: near)[1] > least


@pytest.mark.parametrize(("M", "variance"), [(2, 0.027954), (4, 0.017972)])
def test_batch_mean_with_the_own_reward_shrinks(M, variance):
    mean, found = of_baseline(own_mean, M)
    assert torch.allclose(mean, (1 - 1 / M) * G, atol=1e-15)
    assert math.isclose(found, variance, abs_tol=5e-7)
    assert math.isclose(float((mean - G).abs().max()), 0.144099 / M, abs_tol=1e-6)


def test_average_must_be_updated_after_its_use():
    """Before, it holds the reward that it is subtracted from."""

    def baselines(early):
        values = []
        for reward in F:
            average = estimators.ExponentialAverage(0.9)
            average.update(torch.tensor([0.3, 0.5]))
            if early:
                average.update(reward)
            values.append(average.value)
        return torch.tensor(values, dtype=DOUBLE)[:, None]

    right, _ = of_baseline(lambda r: baselines(early=False))
    wrong, _ = of_baseline(lambda r: baselines(early=True))
    assert torch.allclose(right, G, atol=1e-15)
    assert torch.allclose(wrong, 0.9 * G, atol=1e-12)


def test_average_follows_the_mean_reward():
    average = estimators.ExponentialAverage(0.5)
    average.update(torch.tensor([1.0, 3.0]))
    assert average.value == 1.0
    average.update(torch.tensor([1.0]))
    assert average.value == 1.0
    with pytest.raises(ValueError, match="decay must be in"):
        estimators.ExponentialAverage(1.0)


def test_baseline_that_depends_on_the_draw_biases():
    mean, _ = of_baseline(lambda reward: 0.5 * reward)
    assert torch.allclose(mean, 0.5 * G, atol=1e-15)


def test_reward_and_baseline_carry_no_gradient():
    log_p = torch.randn(4, 2, requires_grad=True)
    reward = torch.rand(4, 1, requires_grad=True)
    baseline = torch.rand(4, 2, requires_grad=True)
    estimators.score(log_p, reward, baseline).backward()
    assert log_p.grad.any() and reward.grad is None and baseline.grad is None


# ---- Shapes


@pytest.mark.parametrize("name", ["reward", "baseline"])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 2), (3, 3, 1)])
def test_score_refuses_what_would_broadcast(name, shape):
    """B == T == 3: a reward (3,) would run along the steps."""
    values = {"reward": torch.rand(3, 1), "baseline": 0.0, name: torch.rand(shape)}
    with pytest.raises(ValueError, match=rf"{name} must be \(3, 1\) or \(3, 3\)"):
        estimators.score(torch.zeros(3, 3), **values)


def test_score_sums_over_steps_and_averages_over_the_batch():
    log_p, reward = torch.randn(5, 3), torch.rand(5, 3)
    by_hand = -sum(float((reward[b] - 0.2) @ log_p[b]) for b in range(5)) / 5
    assert math.isclose(estimators.score(log_p, reward, 0.2), by_hand, rel_tol=1e-5)
    one = reward[:, :1]
    repeated = estimators.score(log_p, one.expand(5, 3))
    assert torch.isclose(estimators.score(log_p, one), repeated)
    with pytest.raises(ValueError, match=r"expected \(inputs, steps\)"):
        estimators.score(log_p[:, 0], one)


def test_leave_one_out_is_a_mean_of_the_others():
    reward = torch.rand(4, 3)
    found = estimators.leave_one_out(reward)
    for m in range(4):
        rest = [i for i in range(4) if i != m]
        assert torch.allclose(found[m], reward[rest].mean(dim=0))
    with pytest.raises(ValueError, match="two samples an input or more"):
        estimators.leave_one_out(reward[:1])
    with pytest.raises(ValueError, match=r"reward must be \(samples, inputs\)"):
        estimators.leave_one_out(reward[0])


# ---- Two looks: 16 trajectories


LOOK = toys.looks(3)
PLACES, WEIGHT = toys.every(toys.chain(LOOK.steps()))
THETA = torch.cat([table.flatten() for table in LOOK.steps()])
TOTAL = toys.at(LOOK.reward, PLACES)[:, None] + LOOK.image.double()[PLACES[:, :1]]


def log_probs(theta):
    first = theta[:, :4].log_softmax(dim=1).gather(1, PLACES[:, :1])
    second = theta[:, 4:].unflatten(1, (4, 4)).log_softmax(dim=2)
    second = second[torch.arange(16), PLACES[:, 0]].gather(1, PLACES[:, 1:])
    return torch.cat((first, second), dim=1)


def of_steps(reward, baseline=0.0):
    rule = lambda theta: estimators.score(log_probs(theta), reward, baseline)  # noqa: E731
    return toys.moments(estimators.estimates(rule, THETA.expand(16, -1)), WEIGHT)


@pytest.fixture(scope="module")
def slope():
    """The gradient of the enumerated objective."""
    leaves = [table.clone().requires_grad_() for table in LOOK.steps()]
    value = LOOK.reward + LOOK.image.double()[:, None]
    parts = torch.autograd.grad(toys.expect(toys.chain(leaves), value), leaves)
    return torch.cat([part.flatten() for part in parts])


def test_sequence_agrees_with_the_enumerated_objective(slope):
    mean, variance = of_steps(TOTAL)
    assert torch.allclose(mean, slope, atol=1e-12)
    paid = torch.cat((LOOK.image.double()[PLACES[:, :1]], TOTAL), dim=1)
    paid[:, 1] -= paid[:, 0]
    to_go, less = of_steps(estimators.reward_to_go(paid))
    assert torch.allclose(to_go, slope, atol=1e-12) and less < variance
    state = torch.rand(5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    baseline = torch.stack((state[4].expand(16), state[PLACES[:, 0]]), dim=1)
    assert torch.allclose(of_steps(TOTAL, baseline)[0], slope, atol=1e-12)
    assert not torch.allclose(of_steps(TOTAL, 0.5 * TOTAL)[0], slope, atol=1e-3)


def test_mean_over_time_would_be_off_by_the_number_of_steps(slope):
    rule = lambda theta: -(TOTAL * log_probs(theta)).mean()  # noqa: E731
    guess = estimators.estimates(rule, THETA.expand(16, -1))
    assert torch.allclose(toys.moments(guess, WEIGHT)[0], slope / 2, atol=1e-12)


def test_reward_to_go():
    found = estimators.reward_to_go(torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 1.0]]))
    assert found.tolist() == [[7, 6, 4], [1, 1, 1]]


def test_unused_last_look_adds_variance_and_nothing_else():
    added = []
    for seed in range(20):
        bed = toys.looks(seed)
        L = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
        places, weight = toys.every(toys.chain([*bed.steps(), L.expand(4, 4, 4)]))
        reward = toys.at(bed.reward, places[:, :2])[:, None]

        def rule(L, places=places, reward=reward):
            log_p = L.log_softmax(dim=1).gather(1, places[:, 2:])
            return estimators.score(log_p, reward)

        guess = estimators.estimates(rule, L.expand(64, -1))
        mean, variance = toys.moments(guess, weight)
        assert mean.abs().max() < 1e-15
        formula = weight @ reward[:, 0] ** 2 * (1 - L.softmax(0).square().sum())
        assert math.isclose(variance, formula, rel_tol=1e-12)
        added.append(float(variance))
    assert min(added) < 0.22 < max(added)


def test_learned_baseline_is_best_at_the_conditional_mean():
    generator = torch.Generator().manual_seed(1)
    places = toys.draw(toys.chain(LOOK.steps()), 4_000, generator)
    reward = toys.at(LOOK.reward, places)[:, None]
    table = torch.zeros(4, dtype=DOUBLE, requires_grad=True)  # b_2(l_1)
    optimiser = torch.optim.SGD([table], lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        estimators.baseline_loss(table[places[:, :1]], reward).backward()
        optimiser.step()
    for place in range(4):
        there = reward[places[:, 0] == place]
        assert math.isclose(table[place].detach(), there.mean(), abs_tol=1e-6)
    with pytest.raises(ValueError, match=r"reward must be \(4, 1\) or \(4, 4\)"):
        estimators.baseline_loss(torch.zeros(4, 4), torch.zeros(4))


# ---- Gaussian places


def test_sample_in_the_graph_gives_the_mean_no_gradient():
    mu = torch.tensor([[0.3]], requires_grad=True)
    sample = mu + 0.2 * torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    for taken, silent in ((sample, True), (sample.detach(), False)):
        log_p = torch.distributions.Normal(mu, 0.2).log_prob(taken)
        loss = estimators.score(log_p, sample.detach().square())
        (slope,) = torch.autograd.grad(loss, mu, retain_graph=True)
        assert bool(slope.abs() < 1e-4) == silent


def test_log_prob_of_a_clamped_place_is_biased():
    eps = torch.linspace(-8, 8, 160_001, dtype=DOUBLE)[:, None]
    weight = (-eps[:, 0].square() / 2).exp()
    weight = weight / weight.sum()
    place = 0.7 + 0.3 * eps
    exact = float(weight @ (2 * place * (place.abs() < 1))[:, 0])

    def found(taken):
        def rule(mu):
            log_p = torch.distributions.Normal(mu, 0.3).log_prob(taken)
            return estimators.score(log_p, place.clamp(-1, 1).square())

        guess = estimators.estimates(rule, torch.full_like(eps, 0.7))
        return float(weight @ guess[:, 0])

    assert math.isclose(found(place), exact, abs_tol=1e-3)
    assert abs(found(place.clamp(-1, 1)) - exact) > 0.2


# ---- Without replacement


def test_gumbel_top_k_draws_one_after_the_other(generator):
    count = 60_000
    found = estimators.gumbel_top_k(BED.logits.expand(count, -1), 2, generator)
    assert (found[:, 0] != found[:, 1]).all()
    for a, b in permutations(range(5), 2):
        prob = float(P[a] * P[b] / (1 - P[a]))
        share = float(((found[:, 0] == a) & (found[:, 1] == b)).double().mean())
        assert abs(share - prob) < 4.5 * math.sqrt(prob * (1 - prob) / count)
    again = torch.Generator().manual_seed(0)
    assert torch.equal(
        found[:9], estimators.gumbel_top_k(BED.logits.expand(count, -1), 2, again)[:9]
    )
    for k in (0, 6):
        with pytest.raises(ValueError, match="between 1 and the 5 places"):
            estimators.gumbel_top_k(BED.logits, k, generator)


def sets(k):
    members = torch.combinations(torch.arange(5), k)
    return members, estimators.set_prob(P[members])


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_probability_of_a_set_is_a_sum_over_orders(k):
    members, prob = sets(k)
    assert math.isclose(prob.sum(), 1, rel_tol=1e-12)
    total, left = 0.0, 1.0
    for order in permutations(members[-1].tolist()):
        product, left = 1.0, 1.0
        for x in order:
            product, left = product * float(P[x]) / left, left - float(P[x])
        total += product
    assert math.isclose(prob[-1], total, rel_tol=1e-9)


def test_large_sets_are_refused():
    with pytest.raises(ValueError, match="sets of up to 6 places"):
        estimators.set_prob(torch.full((7,), 0.1))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("baseline", [False, True])
def test_unordered_set_is_unbiased(k, baseline):
    members, weight = sets(k)
    if k == 1 and baseline:  # it would be the draw's own reward
        with pytest.raises(ValueError, match="two places or more"):
            estimators.unordered_set(BED.logits.expand(5, -1), members, F[members])
        return

    def rule(L):
        return estimators.unordered_set(L, members, F[members], baseline)

    mean, variance = exact(rule, members, weight)
    printed = {(2, False): 0.080249, (2, True): 0.069745}.get((k, baseline))
    assert torch.allclose(mean, G, atol=1e-14)
    if printed:
        assert math.isclose(variance, printed, abs_tol=5e-7)
    if k == 5:
        assert variance < 1e-20


def test_ratios_estimate_a_mean_without_bias():
    members, weight = sets(3)
    ratio, second = estimators.leave_out_ratios(P[members])
    assert math.isclose(weight @ (P[members] * ratio * F[members]).sum(1), BED.mean())
    assert torch.allclose(second.diagonal(dim1=1, dim2=2), torch.ones(10, 3).double())


def test_a_policy_that_is_sure_gives_finite_gradients(generator):
    logits = torch.tensor([[40.0, 0.0, -1.0, 0.5, -200.0]]).expand(50, -1)
    reward = torch.rand(50, 2)
    places = estimators.gumbel_top_k(logits, 2, generator)
    control = relaxations.rebar_control(lambda z: z[:, 1], 0.5)
    for rule in (
        partial(estimators.unordered_set, places=places, reward=reward),
        partial(estimators.sum_and_sample, places=places, reward=reward),
        partial(
            estimators.relax,
            f=lambda z: z[:, 1],
            control=control,
            generator=generator,
        ),
    ):
        assert estimators.estimates(rule, logits).isfinite().all()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_sum_and_sample_is_unbiased(k, generator):
    order = BED.logits.argsort(descending=True)
    rest = order[k:, None]
    places = torch.cat((order[:k].expand(len(rest), -1), rest), dim=1)

    def rule(L):
        return estimators.sum_and_sample(L, places, F[places])

    mean, variance = exact(rule, places, (P[rest] / P[rest].sum())[:, 0])
    assert torch.allclose(mean, G, atol=1e-14)
    assert (variance < 1e-20) == (k == 4)
    found = estimators.top_and_rest(BED.logits.expand(3_000, -1), k, generator)
    assert (found[:, :k] == order[:k]).all()
    share = (found[:, k:] == rest[:, 0]).double().mean(dim=0)
    assert torch.allclose(share, P[rest[:, 0]] / P[rest].sum(), atol=0.05)
    with pytest.raises(ValueError, match="k must leave a place of 5"):
        estimators.top_and_rest(BED.logits[None], 5, generator)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_ordered_draws_have_the_probability_of_what_is_left(k):
    orders = torch.tensor([*permutations(range(5), k)])
    found = estimators.ordered_log_probs(BED.logits.expand(len(orders), -1), orders)
    assert found.shape == (len(orders), k)
    for row, order in zip(found.exp(), orders.tolist(), strict=True):
        left = 1.0
        for step, place in enumerate(order):
            assert math.isclose(row[step], P[place] / left, rel_tol=1e-12)
            left -= float(P[place])
    whole = found.sum(dim=1).exp()
    assert math.isclose(whole.sum(), 1, rel_tol=1e-12)
    of_set = whole[(orders.sort(dim=1).values == orders[0].sort().values).all(dim=1)]
    assert math.isclose(of_set.sum(), estimators.set_prob(P[orders[0]]), rel_tol=1e-12)


def test_scores_of_ordered_draws_have_mean_zero():
    orders = torch.tensor([*permutations(range(5), 3)])
    L = BED.logits.repeat(len(orders), 1).requires_grad_()
    log_p = estimators.ordered_log_probs(L, orders).sum(dim=1)
    (mean,) = torch.autograd.grad((log_p.detach().exp() * log_p).sum(), L)
    assert mean.sum(dim=0).abs().max() < 1e-14


def test_ordered_draws_of_a_sure_policy_have_finite_slopes():
    logits = torch.tensor([[800.0, 0.0, -3.0]]).double().requires_grad_()
    found = estimators.ordered_log_probs(logits, torch.tensor([[0, 2, 1]]))
    wanted = torch.tensor([[0.0, -3 - math.log1p(math.exp(-3)), 0.0]]).double()
    assert torch.allclose(found, wanted, atol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    q = 1 / (1 + math.exp(3))  # of place 2 once place 0 is gone
    assert torch.allclose(slope, torch.tensor([[0.0, q - 1, 1 - q]]).double())


@pytest.mark.parametrize("shape", [(2, 6), (3, 2), (2,)])
def test_ordered_draws_of_other_shapes_are_refused(shape):
    places = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match="at most 5 different ones, got shape"):
        estimators.ordered_log_probs(BED.logits.expand(2, -1), places)


# ---- Soft choices


def test_straight_through_is_unbiased_for_a_straight_f_only():
    for between, unbiased in ((BED.linear, True), (BED.curved, False)):
        rule = partial(estimators.straight_through, places=torch.arange(5), f=between)
        mean, _ = exact(rule, torch.arange(5), P)
        assert torch.allclose(mean, G, atol=1e-15) == unbiased
    assert math.isclose(float((mean - G).abs().max()), 0.0427, abs_tol=5e-5)
    assert math.isclose(torch.cosine_similarity(mean, G, dim=0), 0.955, abs_tol=5e-4)


@pytest.mark.parametrize(
    ("tau", "bias", "variance"),
    [
        (2, 0.0919, 0.0016),
        (1, 0.0573, 0.0119),
        (0.5, 0.0316, 0.0527),
        (0.1, 0.0054, 0.475),
    ],
)
def test_gumbel_softmax_trades_bias_for_variance(tau, bias, variance, generator):
    rule = partial(
        estimators.gumbel_softmax, f=BED.curved, tau=tau, generator=generator
    )
    mean, error, found = drawn(rule)
    worst = int((mean - G).abs().argmax())
    assert abs(float((mean - G).abs().max()) - bias) < 4 * float(error[worst]) + 5e-4
    assert math.isclose(found, variance, rel_tol=0.1)


def test_hard_gumbel_softmax_calls_f_on_corners(generator):
    seen = []

    def f(z):
        seen.append(z.detach())
        return BED.curved(z)

    rule = partial(estimators.gumbel_softmax, f=f, tau=0.5, generator=generator)
    drawn(partial(rule, hard=True), 100)
    drawn(rule, 100)
    assert torch.equal(seen[0].sort(dim=1).values[:, :4], torch.zeros(100, 4).double())
    assert (seen[1].max(dim=1).values < 1).any()


def test_keys_given_the_choice_have_the_distribution_of_keys(generator):
    log_p = P.log().expand(60_000, -1)
    noise = relaxations.exponential(log_p, generator)
    keys = log_p - noise.log()
    places = keys.argmax(dim=1)
    other = relaxations.exponential(log_p, generator)
    again = relaxations.conditional_gumbel(log_p, places, other)
    assert torch.equal(again.argmax(dim=1), places)
    for place in range(5):
        a, b = keys[places == place], again[places == place]
        error = (a.var(dim=0) / len(a) + b.var(dim=0) / len(b)).sqrt()
        assert ((a.mean(dim=0) - b.mean(dim=0)).abs() < 4.5 * error).all()


CONTROLS = {
    "none": lambda keys: keys[:, 0] * 0,
    "REBAR": relaxations.rebar_control(BED.curved, 1.0),
    "REBAR, sharp": relaxations.rebar_control(BED.curved, 0.2, scale=0.5),
    "odd": lambda keys: keys.square().sum(dim=1) + keys[:, 1].sin(),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_relax_is_unbiased_for_any_control(name, generator):
    rule = partial(
        estimators.relax, f=BED.curved, control=CONTROLS[name], generator=generator
    )
    mean, error, variance = drawn(rule)
    assert ((mean - G).abs() < 4.5 * error).all()
    plain = float(of_baseline(lambda r: 0.0)[1])
    if name == "REBAR":
        assert variance < 0.5 * plain
    if name == "none":
        assert math.isclose(variance, plain, rel_tol=0.05)


def test_relax_learns_a_control_that_lowers_the_variance(generator):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    rule = partial(
        estimators.relax,
        f=BED.curved,
        control=lambda keys: net(keys)[:, 0],
        generator=generator,
    )
    before = drawn(rule)[2]
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        guess = estimators.estimates(
            rule, BED.logits.expand(200, -1), create_graph=True
        )
        optimiser.zero_grad()
        guess.square().sum(dim=1).mean().backward()
        optimiser.step()
    mean, error, after = drawn(rule)
    assert ((mean - G).abs() < 4.5 * error).all()
    assert after < 0.5 * before and after < 0.078


# ---- Wake and sleep


RIGHT = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.8], dtype=DOUBLE)


def test_weights_sum_to_one_and_survive_tiny_ones():
    log_w = torch.tensor([[0.0, -2000.0], [math.log(3), -2000.0]])
    weights = estimators.normalised_weights(log_w)
    assert torch.allclose(weights, torch.tensor([[0.25, 0.5], [0.75, 0.5]]))
    size = estimators.effective_sample_size(weights)
    assert torch.allclose(size, torch.tensor([1.6, 2.0]))
    with pytest.raises(ValueError, match=r"log_w must be \(samples, inputs\)"):
        estimators.normalised_weights(log_w[0])


@pytest.mark.parametrize(
    ("K", "bias", "variance"),
    [
        (1, 0.28452, 0.711),
        (2, 0.17281, 0.468),
        (3, 0.11745, 0.336),
        (4, 0.08660, 0.252),
    ],
)
def test_wake_p_is_biased_by_the_number_of_samples(K, bias, variance):
    places, weight = tuples(K)
    log_y = RIGHT.log()[places].T

    def rule(L):
        log_l = L.log_softmax(dim=1).gather(1, places).T
        return estimators.wake_p(log_l + log_y, log_y)

    mean, found = exact(rule, places, weight)
    wanted = P * RIGHT / (P @ RIGHT) - P
    assert math.isclose(float((mean - wanted).abs().max()), bias, abs_tol=5e-6)
    assert math.isclose(found, variance, abs_tol=5e-4)
    assert (mean.abs().max() < 1e-15) == (K == 1)  # K = 1 learns nothing


def test_wake_q_keeps_its_mean_when_centred():
    logits = torch.tensor([1.0, -0.5, 0.0, 0.2, 0.4], dtype=DOUBLE)
    places, weight = toys.every(toys.repeat(logits, 3))
    log_w = (P.log() + RIGHT.log() - logits.log_softmax(dim=0))[places].T
    expected = [0.106854, -0.037945, -0.016638, 0.023092, -0.075364]
    for centred, variance in ((False, 0.2381), (True, 0.0268)):

        def rule(L, centred=centred):
            log_q = L.log_softmax(dim=1).gather(1, places).T
            return estimators.wake_q(log_q, log_w, centred)

        guess = estimators.estimates(rule, logits.expand(len(places), -1))
        mean, found = toys.moments(guess, weight)
        assert torch.allclose(mean, torch.tensor(expected).double(), atol=5e-7)
        assert math.isclose(found, variance, abs_tol=5e-5)
    weights = estimators.normalised_weights(log_w)
    size = weight @ estimators.effective_sample_size(weights)
    assert math.isclose(size, 2.697, abs_tol=5e-4)
    weights = estimators.normalised_weights(log_w[:1])
    assert torch.equal(weights - 1, torch.zeros_like(weights))  # K = 1, centred


def test_bound_is_below_the_likelihood_and_points_elsewhere():
    assert math.isclose(P @ RIGHT.log(), -1.159632, abs_tol=5e-7)
    assert math.isclose((P @ RIGHT).log(), -0.844606, abs_tol=5e-7)
    bound = P * (RIGHT.log() - P @ RIGHT.log())
    printed = [0.274103, -0.180236, 0.044617, -0.192812, 0.054328]
    assert torch.allclose(bound, torch.tensor(printed).double(), atol=5e-7)


def test_the_same_seed_gives_the_same_draws_in_any_dtype():
    for dtype in (torch.float32, DOUBLE):
        logits = BED.logits.to(dtype).expand(4, -1)
        rules = [
            partial(estimators.gumbel_softmax, f=lambda z: z[:, 0], tau=1.0),
            partial(estimators.relax, f=lambda z: z[:, 0], control=lambda k: k[:, 1]),
        ]
        for rule in rules:
            one, two = (
                estimators.estimates(
                    partial(rule, generator=torch.Generator().manual_seed(5)), logits
                )
                for _ in range(2)
            )
            assert torch.equal(one, two) and one.dtype == dtype and one.isfinite().all()
