"""Equation 8 against enumeration, and a network that goes where it is told."""

from itertools import product

import pytest
import torch

from saccade_lib.models import partial_supervision as ps
from saccade_lib.models.partial_supervision import UNKNOWN

B, T = 3, 2
TINY = dict(classes=3, glimpses=T, grid=2, size=4, width=6, features=5, margin=0.4)


def network(kind=ps.PartlySupervised, config=ps.Config, **more):
    torch.manual_seed(0)
    net = kind(config(**TINY | more)).double()
    torch.nn.init.normal_(net.policy.head[-1].weight)  # away from even chances
    torch.nn.init.normal_(net.start)
    return net.eval()  # normalisation by fixed statistics: images do not mix


def batch(places=None, size=B):
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(size, 1, 10, 10, generator=draw, dtype=torch.float64)
    unknown = torch.full((size, T), UNKNOWN)
    label = torch.arange(size) % 3
    return {
        "image": image,
        "label": label,
        "places": unknown if places is None else places,
    }


def sequences():
    return torch.tensor(list(product(range(4), repeat=T)))  # (16, T)


def everywhere(net, image):
    """log pi of all 16 sequences on one image, and log p of the label's classes."""
    told = sequences()
    trace = net.run(image.expand(16, -1, -1, -1), choose=ps.led(told))
    return trace.log_prob.sum(dim=1), net._log_p(trace.state)[:, 0]


def slopes(net, value):
    weights = list(net.parameters())
    found = torch.autograd.grad(value, weights, allow_unused=True)
    pairs = zip(weights, found, strict=True)
    return [torch.zeros_like(w) if g is None else g for w, g in pairs]


def test_all_sequences_have_probability_one_and_the_first_place_ignores_the_image():
    net = network()
    log_pi, _ = everywhere(net, batch()["image"][:1])
    assert log_pi.exp().sum().item() == pytest.approx(1, abs=1e-12)
    said = []
    net.run(
        batch()["image"], choose=lambda log_p, d: said.append(log_p) or log_p.argmax(1)
    )
    assert (said[0] == said[0][0]).all() and len(said) == T  # T decisions
    assert (said[1] - said[1][0]).abs().max() > 1e-6


def test_what_is_taught_is_the_likelihood_of_label_and_places():
    net = network(taught=0.7)
    told = torch.tensor([[0, 3], [2, 2], [1, 0]])
    data = batch(told)
    loss = net.loss(data)
    trace = net.run(data["image"], choose=ps.led(told))
    log_p = net._log_p(trace.state)[:, 0].gather(1, data["label"][:, None])
    expected = -0.7 * trace.log_prob.sum(dim=1).mean() - log_p.mean()
    torch.testing.assert_close(loss.total, expected)
    assert loss.terms["places"] == 0 and loss.terms["baseline"] == 0
    for one, other in zip(slopes(net, loss.total), slopes(net, expected), strict=True):
        torch.testing.assert_close(one, other)


def test_untold_images_follow_the_slope_of_the_expected_reward():
    """The mean of many draws against the sum over all 16 sequences."""
    net = network()
    for layer in (net.classify, net.read.what[-2], net.read.where[-2]):
        torch.nn.init.normal_(layer.weight)  # what is right depends on the places
    data = batch(size=1)
    log_pi, log_p = everywhere(net, data["image"])
    data["label"] = log_p.argmax(dim=1).mode().values[None]
    right = (log_p.argmax(dim=1) == data["label"]).double()  # (16,)
    assert 0 < right.sum() < 16
    of_label = log_p[:, data["label"][0]]
    bound = (log_pi.exp().detach() * of_label).sum() + (log_pi.exp() * right).sum()
    head = net.policy.head[-1].weight
    (exact,) = torch.autograd.grad(-bound, head)
    many = {name: v.repeat(2_000, *[1] * (v.dim() - 1)) for name, v in data.items()}
    torch.manual_seed(3)
    draws = []
    for _ in range(6):
        loss = net.loss(many)
        draws.append(torch.autograd.grad(loss.total - loss.terms["baseline"], head)[0])
    draws = torch.stack(draws)
    error = draws.std(dim=0) / len(draws) ** 0.5
    # Six means of 2,000 draws: Student's t with five degrees of freedom.
    assert ((draws.mean(dim=0) - exact).abs() < 7 * error + 1e-6).all()
    assert exact.abs().max() > 10 * error.max()  # and there is something to see


def test_a_batch_of_both_kinds_is_the_sum_of_its_parts():
    net = network()
    told = torch.tensor([[0, 3], [UNKNOWN, UNKNOWN], [1, 0]])
    data = batch(told)
    torch.manual_seed(5)
    loss = net.loss(data)
    known = [0, 2]
    alone = net.loss({name: v[known] for name, v in data.items()})
    torch.testing.assert_close(3 * loss.terms["taught"], 2 * alone.terms["taught"])
    torch.manual_seed(5)
    trace = net.run(
        data["image"],
        choose=lambda p, d: torch.where(
            told[:, 0] < 0, net.policy.sample(p), told[:, d]
        ),
    )
    right = net._log_p(trace.state)[1, 0].argmax() == data["label"][1]
    value = net.value(trace.placing)[1, :, 0].detach()
    score = -((right.double() - value) * trace.log_prob[1]).sum() / 3
    torch.testing.assert_close(loss.terms["places"], score)


def test_a_told_place_is_where_it_reads_and_the_last_cells_end_with_the_image():
    net = ps.PartlySupervised(ps.Config(2, channels=1, glimpses=2)).eval()
    image = torch.arange(64 * 64.0).view(1, 1, 64, 64) / 64**2
    for cell, (row, column) in {0: (0, 0), 168: (48, 48), 15: (4, 8)}.items():
        trace = net.run(image, choose=ps.led(torch.full((1, 2), cell)))
        wanted = image[0, 0, row : row + 16, column : column + 16]
        torch.testing.assert_close(trace.patches[0, 0, 0], wanted)


@pytest.mark.parametrize(
    "kind, config, more",
    [
        (ps.PartlySupervised, ps.Config, {}),
        (ps.WsramFromStart, ps.WsramConfig, dict(seen=8)),
    ],
)
def test_at_drawn_places_only_reading_is_learned(kind, config, more):
    net = network(kind, config, drawn=0.5, **more).train()
    data = batch() | {"drawn": torch.tensor([[0, 1], [3, 2], [1, 1]])}
    early = net.loss(data | {"progress": 0.2})
    reached = [
        n
        for n, g in zip(
            dict(net.named_parameters()), slopes(net, early.total), strict=True
        )
        if g.abs().sum() > 0
    ]
    assert not any(n.startswith(("policy", "value", "proposal")) for n in reached)
    assert any(n.startswith("read.where") for n in reached)
    late = net.loss(data | {"progress": 0.5})
    assert set(late.terms) == set(early.terms) and set(late.metrics) == set(
        early.metrics
    )
    assert late.terms["places"] != 0 and early.terms["places"] == 0
    net.eval()
    assert net.loss(data | {"progress": 0.2}).terms["places"] != 0


def test_wake_sleep_decides_all_places():
    net = network(ps.WsramFromStart, ps.WsramConfig, runs=4, seen=8)
    assert net.proposal.D == T == net.config.decisions
    loss = net.loss(batch())
    loss.total.backward()
    assert net.start.grad.abs().sum() > 0
    assert loss.total.isfinite()


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(policy="gaussian"), "grid policy"),
        (dict(core="lstm"), "core of one layer"),
        (dict(runs=2), "one run"),
        (dict(taught=-1.0), "must not be negative"),
        (dict(drawn=1.0), "lies in"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        ps.Config(**TINY | wrong)


def test_a_prediction_shows_its_places():
    net = network()
    seen = net.predict(batch()["image"])
    assert seen.location.shape == (B, T, 2) and seen.crops.shape == (B, T, 1, 4, 4)
    torch.testing.assert_close(seen.probabilities.sum(dim=1), torch.ones(B).double())
    again = net.predict(batch()["image"])
    assert torch.equal(seen.location, again.location)  # the likeliest, not drawn
