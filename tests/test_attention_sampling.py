"""Attention sampling: values and slopes against all draws, on four places."""

from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from torch.autograd.functional import jacobian

from saccade_lib.models import attention_sampling
from saccade_lib.models.attention_sampling import Config, draw, expectation, weights

SMALL = Config(
    3, proxy=8, glimpses=2, size=8, scale=0.5, features=8, width=4, entropy=0.1
)


def places():
    """Logits of four places and their features, both functions of three numbers."""
    generator = torch.Generator().manual_seed(1)
    a, f = (torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (4, 8))
    theta = torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64)

    def of(theta):
        return (theta @ a).log_softmax(dim=0), (theta @ f).view(4, 2).tanh()

    return theta, of


def sequences(count, replacement):
    """Every ordered draw, and its probability from a ``(4,)``."""
    kind = (
        product(range(4), repeat=count)
        if replacement
        else permutations(range(4), count)
    )
    for order in kind:

        def chance(a, order=order):
            p, left = 1.0, 1.0
            for i in order:
                p, left = p * a[i] / left, left if replacement else left - a[i]
            return p

        yield list(order), chance


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_estimate_and_its_slope_are_unbiased(replacement, count):
    theta, of = places()

    def whole(theta):
        log_a, f = of(theta)
        return log_a.exp() @ f  # (2,)

    value, slope, total = torch.zeros(2).double(), torch.zeros(2, 3).double(), 0.0
    for order, chance in sequences(count, replacement):
        p = chance(of(theta)[0].exp())

        def estimate(theta, order=order):
            log_a, f = of(theta)
            return expectation(log_a[None, order], f[None, order], replacement)[0]

        value += p * estimate(theta)
        slope += p * jacobian(estimate, theta)
        total += p
    torch.testing.assert_close(total, torch.ones(()).double())
    torch.testing.assert_close(value, whole(theta))
    torch.testing.assert_close(slope, jacobian(whole, theta))


def test_all_places_without_replacement_leave_nothing_to_chance():
    theta, of = places()
    log_a, f = of(theta)
    for order in permutations(range(4)):
        order = list(order)
        last = weights(log_a.exp()[None, order])[0, -1]
        torch.testing.assert_close(last, log_a.exp()[order[-1]] / 4)
    alone = torch.tensor([[0.25] * 4])
    torch.testing.assert_close(weights(alone).sum(), torch.tensor(1.0))


def test_draws_come_as_often_as_they_should_and_none_twice():
    theta, of = places()
    log_a = of(theta)[0].expand(20_000, -1)
    torch.manual_seed(0)
    drawn = draw(log_a, 2)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for order, chance in sequences(2, replacement=False):
        p = float(chance(log_a[0].exp()))
        share = (drawn == torch.tensor(order)).all(dim=1).double().mean()
        assert abs(share - p) < 4 * (p * (1 - p) / len(drawn)) ** 0.5
    again = draw(log_a, 2, replacement=True)
    assert (again[:, 0] == again[:, 1]).any()


def made(config=SMALL):
    torch.manual_seed(0)
    return attention_sampling.AttentionSampling(config)


def batch():
    x = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    return {"image": x, "label": torch.arange(6) % 3}


@pytest.mark.parametrize("replacement", [True, False])
def test_both_networks_learn_and_windows_stay_inside(replacement):
    model = made(replace(SMALL, replacement=replacement))
    model.loss(batch()).total.backward()
    for name in ("attend.net.9.weight", "read.net.1.weight", "classify.0.weight"):
        assert dict(model.named_parameters())[name].grad.abs().sum() > 0
    seen = model.predict(batch()["image"], sample=True)
    torch.testing.assert_close(seen.probabilities.sum(dim=1), torch.ones(6))
    assert (seen.location.abs() + seen.scale[..., None] <= 1 + 1e-6).all()
    assert seen.crops.shape == (6, 2, 1, 8, 8)


def test_entropy_begins_at_its_most():
    term = made().loss(batch()).terms["entropy"]
    torch.testing.assert_close(term, -0.1 * torch.tensor(64.0).log())


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"glimpses": 65}, "cannot be drawn"),
        ({"scale": 0.0}, "scale must be"),
        ({"size": 7}, "size must be even"),
        ({"entropy": -1.0}, "entropy must not"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **wrong)
