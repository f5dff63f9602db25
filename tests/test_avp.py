"""g: blind, without an order, trained by equation 7, calibrated."""

from dataclasses import replace

import pytest
import torch

from saccade_lib import design
from saccade_lib.models import avp
from saccade_lib.models.avp_networks import with_mask

TINY = avp.Config(4, 3, side=16, size=8, stride=4, width=4, features=8, glimpses=3)
NETWORKS = ("set", "cnn")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(6, 3, 16, 16, generator=generator),
        "label": torch.arange(6) % 4,
        "places": torch.randint(9, (6, 3), generator=generator),
    }


def made(network, **changes):
    torch.manual_seed(1)
    return avp.Avp(replace(TINY, network=network, **changes))


@pytest.mark.parametrize("network", NETWORKS)
def test_order_repeats_and_unseen_pixels_change_no_bit(network, batch):
    g = made(network)
    places = torch.tensor([[0, 5, 7]]).expand(6, -1)
    before = g.predict(batch["image"], places).probabilities
    for order in ([7, 5, 0], [5, 0, 7]):
        other = torch.tensor([order]).expand(6, -1)
        assert torch.equal(before, g.predict(batch["image"], other).probabilities)
    twice = torch.tensor([[5, 0, 5, 7]]).expand(6, -1)
    assert torch.equal(before, g.predict(batch["image"], twice).probabilities)
    seen = g.grid.views[[0, 5, 7]].any(dim=0)
    hidden = torch.where(seen, batch["image"], 1 - batch["image"])
    assert torch.equal(before, g.predict(hidden, places).probabilities)
    assert not torch.equal(before, g.predict(1 - batch["image"], places).probabilities)


def test_the_set_networks_loss_is_the_mean_over_t(batch):
    g = made("set").eval()
    loss = g.loss(batch).terms["class"]
    each = []
    for t in (1, 2, 3):
        logits = g(batch["image"], batch["places"][:, :t])
        each.append(torch.nn.functional.cross_entropy(logits, batch["label"]))
    assert torch.allclose(loss, torch.stack(each).mean(), atol=1e-6)


def test_the_other_networks_draw_t_uniformly(batch):
    g = made("cnn").eval()
    with torch.no_grad():
        torch.manual_seed(0)
        drawn = torch.stack([g.loss(batch).total for _ in range(300)])
        each = [g(batch["image"], batch["places"][:, :t]) for t in (1, 2, 3)]
        nll = [torch.nn.functional.cross_entropy(x, batch["label"]) for x in each]
    error = drawn.std() / 300**0.5
    assert (drawn.mean() - torch.stack(nll).mean()).abs() < 5 * error + 1e-6


def test_attributes_are_a_term_of_their_own(batch):
    g = made("set", attributes=5, attribute_weight=2.0)
    loss = g.loss(batch | {"attributes": torch.ones(6, 5)})
    assert set(loss.terms) == {"class", "attributes"}
    assert torch.isclose(loss.total, sum(loss.terms.values()))


@pytest.mark.parametrize("network", NETWORKS)
def test_beliefs_of_a_groups_classes_are_added(network, batch):
    g = made(network)
    g.temperature.copy_(torch.tensor([0.5, 1.0, 2.0]))
    group = torch.tensor([1, 0, 1, 1])
    one = g.predict(batch["image"], batch["places"])
    two = g.about(group).predict(batch["image"], batch["places"]).probabilities
    assert torch.allclose(two[:, 0], one.probabilities[:, 1], atol=1e-6)
    assert torch.allclose(two.sum(dim=1), torch.ones(6), atol=1e-6)
    assert g.groups is None  # g itself still tells classes
    for wrong in ([0, 1, 1], [0, 2, 2, 0]):
        with pytest.raises(ValueError, match="each of 4 classes"):
            g.about(torch.tensor(wrong))


def test_a_temperature_for_each_number_of_places(batch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 3, generator=generator)
    label = logits.softmax(dim=1).multinomial(1, generator=generator)[:, 0]
    for factor in (0.5, 1.0, 3.0):
        found = avp.least_cross_entropy(factor * logits, label)
        assert abs(found / factor - 1) < 0.1
    g = made("set")
    g.temperature.copy_(torch.tensor([1.0, 2.0, 4.0]))
    places = torch.tensor([[0, 0, 5]]).expand(6, -1)  # two different ones
    tempered = g.predict(batch["image"], places).probabilities
    g.temperature.fill_(1.0)
    plain = g.predict(batch["image"], places).probabilities
    assert torch.allclose((plain.log() / 2).softmax(dim=1), tempered, atol=1e-6)


def test_calibration_is_entropy_against_cross_entropy():
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    found = avp.calibration(p, torch.tensor([0, 1]))
    assert found["accuracy"] == 50.0
    assert abs(found["entropy"] - float(design.entropy(p).mean())) < 1e-6
    assert abs(found["cross_entropy"] + float(p[[0, 1], [0, 1]].log().mean())) < 1e-6


def test_the_masks_filters_begin_at_zero():
    conv = torch.nn.Conv2d(3, 5, 3, 2, 1, bias=False)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(with_mask(conv, 3)(x), conv(x[:, :3]))


def test_densenet_reads_the_masked_image(batch):
    g = avp.Avp(replace(TINY, network="densenet", side=32, size=16)).eval()
    image = torch.rand(2, 3, 32, 32)
    found = g.predict(image, torch.tensor([[0, 24], [3, 4]])).probabilities
    assert found.shape == (2, 4) and torch.allclose(found.sum(dim=1), torch.ones(2))
    assert sum(p.numel() for p in g.parameters()) > 6_900_000  # of 7.0 M, no top


@pytest.mark.parametrize(
    "images, places, message",
    [
        (torch.rand(2, 3, 12, 12), torch.zeros(2, 1).long(), "images of 16 x 16"),
        (torch.rand(2, 3, 16, 16), torch.zeros(3, 1).long(), r"places \(B, t\) for 2"),
        (torch.rand(2, 3, 16, 16), torch.full((2, 1), 9), "numbers from 0 to 8"),
        (torch.rand(1, 3, 16, 16), torch.arange(4)[None], "at most 3 glimpses"),
    ],
)
def test_bad_input_is_explained(images, places, message):
    with pytest.raises(ValueError, match=message):
        made("set").predict(images, places)


def test_a_configuration_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="network must be one of|unknown network|set"):
        avp.Config(4, network="mlp")
    with pytest.raises(ValueError, match="do not end at the border of 128"):
        avp.Config(4, side=128, size=32, stride=9)
