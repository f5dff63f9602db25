"""Expected entropies, retrieval and masks: what the real pipeline rests on."""

import math
from itertools import product

import pytest
import torch

from saccade_lib import design, estimators, toy_designs

DOUBLE = torch.float64


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_expected_entropy_is_the_weighted_mean(generator):
    weights = torch.rand(2, 5, generator=generator, dtype=DOUBLE)
    weights = weights / weights.sum(dim=1, keepdim=True)
    p = torch.randn(2, 3, 5, 4, generator=generator, dtype=DOUBLE).softmax(dim=-1)
    found = design.expected_posterior_entropy(weights, p)
    for b, place in product(range(2), range(3)):
        true = sum(
            float(weights[b, n])
            * -sum(v * math.log(v) for v in p[b, place, n].tolist())
            for n in range(5)
        )
        assert math.isclose(true, float(found[b, place]), abs_tol=1e-12)


def test_certainty_has_no_entropy():
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    assert float(design.entropy(sure)) == 0 == float(design.uncertainty(0 * sure))
    assert torch.equal(design.normalised(0 * sure), 0 * sure)


def test_shapes_and_weights_that_do_not_fit_are_refused():
    p = torch.full((2, 3, 5, 4), 0.25)
    for weights in (torch.full((5,), 0.2), torch.full((2, 3), 1 / 3)):
        with pytest.raises(ValueError, match=r"expected weights \(B, N\)"):
            design.expected_posterior_entropy(weights, p)
    with pytest.raises(ValueError, match="sum to 1"):
        design.expected_posterior_entropy(torch.ones(2, 5), p)


@pytest.fixture
def query():
    images = toy_designs.binary_images()
    seen = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
    seen[0, 0, 0, 0] = seen[0, 0, 1, 0] = True  # pixels 0 and 3
    asked = torch.full((1, 1, 2, 3), torch.nan, dtype=DOUBLE)
    asked[0, 0, 0, 0], asked[0, 0, 1, 0] = 1, 0
    return images, asked, seen


def test_relaxed_posterior_has_the_known_distances(query):
    """Measured with another program: total variation against the exact posterior."""
    bed, (images, asked, seen) = toy_designs.gamma_bed(), query
    exact = bed.given([(0, 1), (3, 0)]).images()
    distance = design.squared_distance(images, asked, seen)
    own = torch.zeros(1, 64, dtype=torch.bool)
    for v, known in {4: 0.678, 1: 0.481, 0.3: 0.0781, 0.1: 1.1e-4}.items():
        p = design.retrieval_weights(distance, v, own, bed.images().log())
        total = float((p - exact).abs().sum() / 2)
        assert math.isclose(total, known, rel_tol=0.05 if v == 0.1 else 1e-3)
    p = design.retrieval_weights(distance, 0.03, own, bed.images().log())
    assert (p - exact).abs().sum() / 2 < 1e-6


def test_what_was_not_seen_has_no_influence_to_the_bit(query, generator):
    images, asked, seen = query
    before = design.squared_distance(images, asked, seen)
    other = torch.where(seen, images, torch.rand(64, 1, 2, 3, generator=generator))
    assert torch.equal(
        before, design.squared_distance(other, asked.nan_to_num(9), seen)
    )


def test_own_weight_is_exactly_zero(generator):
    distance = 5 + torch.rand(3, 8, generator=generator)
    own = torch.zeros(3, 8, dtype=torch.bool)
    for b in range(3):
        own[b, [b, b + 4]] = True  # the image and its flip
        distance[b, b] = 0
    for v in (1e-3, 1.0, 1e3):
        p = design.retrieval_weights(distance, v, own)
        assert (p[own] == 0).all() and torch.allclose(p.sum(dim=1), torch.ones(3))
    # The rest is as if the query had never been there.
    rest = torch.stack([row[~mine] for row, mine in zip(distance, own, strict=True)])
    alone = design.retrieval_weights(rest, 0.7, torch.zeros(3, 6, dtype=torch.bool))
    p = design.retrieval_weights(distance, 0.7, own)
    assert torch.allclose(p[~own].view(3, 6), alone)


def test_bad_retrieval_is_refused():
    distance, none = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    for v in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="v must be positive"):
            design.retrieval_weights(distance, v, none)
    with pytest.raises(ValueError, match="own must be bool"):
        design.retrieval_weights(distance, 1.0, none[0])
    with pytest.raises(ValueError, match="another origin"):
        design.retrieval_weights(distance, 1.0, ~none)


def test_residual_counts_are_right_on_average(generator):
    p = torch.tensor([[0.55, 0.25, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]], dtype=DOUBLE)
    n, draws = 6, 4000
    counts = torch.stack(
        [design.residual_counts(p, n, generator) for _ in range(draws)]
    )
    assert (counts.sum(dim=2) == n).all()
    assert (counts >= (n * p).floor()).all()
    error = counts.double().std(dim=0) / draws**0.5 + 1e-9
    assert ((counts.double().mean(dim=0) - n * p).abs() < 4.5 * error).all()
    assert (counts.double().var(dim=0)[0] < (n * p * (1 - p))[0]).all()


def test_residual_counts_leave_no_chance_where_none_is_needed(generator):
    p = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    assert design.residual_counts(p, 8, generator).tolist() == [[4, 2, 2], [1, 6, 1]]


def test_observed_input_is_blind_and_without_order(generator):
    views = torch.eye(6).view(6, 2, 3).bool()
    images = torch.rand(4, 3, 2, 3, generator=generator)
    places = torch.tensor([[0, 5, 2], [1, 1, 1], [4, 3, 0], [5, 0, 1]])
    shown = design.observe(images, views, places)
    assert shown.shape == (4, 4, 2, 3)
    for order in ((1, 2, 0), (2, 1, 0)):
        assert torch.equal(shown, design.observe(images, views, places[:, order]))
    seen = shown[:, 3:].bool()
    for hidden in (torch.nan, 1e30):
        other = torch.where(seen, images, hidden)
        assert torch.equal(shown, design.observe(other, views, places))
    assert seen.sum(dim=(1, 2, 3)).tolist() == [3, 1, 3, 3]
    nothing = design.observe(images, views, places[:, :0])
    assert not nothing.any()


# ---- The chain from a database and a network to a sequence


def test_a_database_comes_closer_with_the_square_root_of_its_size(query, generator):
    """Mean total variation of 20 databases; known from another program, +- 4 errors."""
    bed, (images, asked, seen) = toy_designs.gamma_bed(), query
    exact = bed.given([(0, 1), (3, 0)]).images()
    distance = design.squared_distance(images, asked, seen)
    for M, known in {50: 0.380, 500: 0.119, 5000: 0.0389, 50_000: 0.0116}.items():
        found = []
        for _ in range(20):
            drawn = bed.images().multinomial(M, replacement=True, generator=generator)
            own = torch.zeros(1, M, dtype=torch.bool)
            p = design.retrieval_weights(distance[:, drawn], 0.03, own)[0]
            on_images = torch.zeros(64, dtype=DOUBLE).index_add(0, drawn, p)
            found.append((on_images - exact).abs().sum() / 2)
        found = torch.stack(found)
        assert abs(float(found.mean()) - known) < 6 * float(found.std()) / 20**0.5


def test_two_stages_have_a_bias_of_one_over_n():
    """All draws of up to five images out of six."""
    generator = torch.Generator().manual_seed(1)
    p, q, h = torch.rand(3, 6, generator=generator, dtype=DOUBLE)
    p, q = p / p.sum(), q / q.sum()
    w, limit = p / q, -(p**2 / q * (h - p @ h)).sum()
    off = []
    for n in (1, 3, 5, 7):
        case = torch.cartesian_prod(*[torch.arange(6)] * n).view(-1, n)
        estimate = (w[case] * h[case]).sum(dim=1) / w[case].sum(dim=1)
        bias = q[case].prod(dim=1) @ estimate - p @ h
        off.append(abs(float(n * bias - limit)))
    assert off[0] > off[1] > off[2] > off[3] and off[3] < 0.3 * abs(float(limit))


def test_equation_7_gives_the_posterior_and_equation_6_equation_5():
    """A table of logits, one row an input, by the gradient of the cross-entropy."""
    bed, images = toy_designs.gamma_bed(), toy_designs.binary_images()
    views = torch.eye(6).view(6, 2, 3).bool()
    shown, target = [], []
    for places in product(range(6), repeat=2):
        at = torch.tensor(places).expand(64, 2)
        shown.append(design.observe(images, views, at).flatten(1))
        target.append(bed.joint.T / 36)
    states, index = torch.cat(shown).unique(dim=0, return_inverse=True)
    mass = torch.zeros(len(states), 3, dtype=DOUBLE)
    mass = mass.index_add(0, index, torch.cat(target))
    logits = torch.zeros(len(states), 3, dtype=DOUBLE, requires_grad=True)
    row = mass.sum(dim=1, keepdim=True)
    for _ in range(200):  # each row's gradient in its own units
        loss = -(mass * logits.log_softmax(dim=1)).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 3 * slope / row).detach().requires_grad_()
    g = logits.detach().softmax(dim=1)[index].view(6, 6, 64, 3)
    for first, patch in product(range(6), (0, 1)):
        now = bed.given([(first, patch)])
        exact, weights = now.posteriors(), now.images()
        kl = torch.xlogy(exact, exact) - torch.xlogy(exact, g[first])
        kl = kl.sum(dim=2) @ weights  # (6,)
        assert kl.max() < 1e-6
        found = design.expected_posterior_entropy(weights[None], g[first][None])
        assert (found[0] - now.epe_over_images()).abs().max() < 1e-3


def test_equation_8_for_one_glimpse_of_four_places(generator):
    """Gradients by hand, by autograd, and of the bound by enumeration."""
    options = {"generator": generator, "dtype": DOUBLE, "requires_grad": True}
    a, c = torch.randn(4, **options), torch.randn(4, 3, **options)
    log_pi, log_q = a.log_softmax(dim=0), c.log_softmax(dim=1)[:, 1]
    pi, eye = log_pi.exp().detach(), torch.eye(4, dtype=DOUBLE)
    of_a, _ = torch.autograd.grad(log_pi[2] + log_q[2], (a, c), retain_graph=True)
    assert torch.allclose(of_a, eye[2] - pi)
    bound = (log_pi.exp() * log_q).sum()
    assert bound <= (log_pi + log_q).logsumexp(dim=0)
    (of_a,) = torch.autograd.grad(bound, a)
    for place, chance in enumerate(pi):
        log_prob = a.log_softmax(dim=0)[None, [place]]
        surrogate = estimators.score(log_prob, log_q[None, [place]])
        of_a = of_a + chance * torch.autograd.grad(surrogate, a)[0]
    assert of_a.abs().max() < 1e-14  # a surrogate's gradient is minus the estimator
