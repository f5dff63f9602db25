"""Saccader and the ImageNet DRAM: the counts of Table 1, their places, their losses."""

import pytest
import torch

from saccade_lib import cost, glimpse
from saccade_lib.models import imagenet_dram, saccader

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of the switch


@pytest.fixture(autouse=True)
def without_compiling():
    """Tiny maps of many shapes: oneDNN would compile a kernel for each."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def on_meta(make):
    with torch.device("meta"):
        return make().eval()


IMAGE = torch.empty(1, 3, 224, 224, device="meta")


@pytest.mark.parametrize(
    "classes, parameters", [(1000, 35_583_400), (1001, 35_583_913)]
)
def test_parameters_of_saccader(classes, parameters):
    net = on_meta(lambda: saccader.Saccader(saccader.Config(classes)))
    assert cost.parameters(net, statistics=True) == parameters


@pytest.mark.parametrize(
    "classes, parameters", [(1000, 45_609_194), (1001, 45_610_219)]
)
def test_parameters_of_dram(classes, parameters):
    net = on_meta(lambda: imagenet_dram.ImagenetDram(imagenet_dram.Config(classes)))
    assert cost.parameters(net, statistics=True) == parameters


@pytest.mark.parametrize("glimpses, giga", [(2, 19.50), (20, 19.51)])
def test_multiplications_of_saccader_hardly_grow(glimpses, giga):
    net = on_meta(lambda: saccader.Saccader(saccader.Config(1000)))
    counted = cost.multiplications(lambda: net.predict(IMAGE, glimpses=glimpses))
    assert round(counted / 1e9, 2) == giga
    assert counted - cost.multiplications(lambda: net.places(IMAGE)) == (
        5_394_137_088 + glimpses * 512 * 19**2
    )


def test_multiplications_of_dram_grow_with_each_run():
    net = on_meta(lambda: imagenet_dram.ImagenetDram(imagenet_dram.Config(1000)))
    two, four = (
        cost.multiplications(lambda t=t: net.predict(IMAGE, glimpses=t)) for t in (2, 4)
    )
    assert two == 3 * (four - two) // 2 == 1_697_491_776


def tiny_saccader(**more):
    torch.manual_seed(0)
    config = saccader.Config(4, width=1 / 16, blocks="small", glimpses=3, **more)
    return saccader.Saccader(config)


def tiny_dram():
    torch.manual_seed(0)
    config = imagenet_dram.Config(4, width=1 / 16, glimpses=2, size=33)
    return imagenet_dram.ImagenetDram(config)


def batch(side):
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(3, 3, side, side, generator=draw)
    return {"image": image, "label": torch.tensor([0, 1, 2])}


def test_saccader_visits_no_place_twice():
    seen = tiny_saccader().eval().visit(torch.rand(3, 3, 101, 101), 9, sample=False)
    assert all(len(row.unique()) == 9 for row in seen.place)
    with pytest.raises(ValueError, match="17 of 4 x 4 places"):
        tiny_saccader().eval().visit(torch.rand(1, 3, 101, 101), 17, sample=False)


def test_a_place_of_saccader_depends_on_its_window_alone():
    net = tiny_saccader().double().eval()
    for block in net.places.body[3:]:
        torch.nn.init.ones_(block.body[-1].weight)  # a block starts as its shortcut
    image = torch.rand(1, 3, 109, 109, dtype=torch.float64, requires_grad=True)
    classes = net.places(image)[2]
    (slope,) = torch.autograd.grad(classes[0, :, 1, 3].sum(), image)
    there = slope[0].abs().sum(dim=0)
    seen = saccader.Visits(torch.tensor([[8]]), None, classes)  # row 1, column 3 of 5
    location, scale = net.windows(seen, 109)
    left, top, right, bottom = glimpse.boxes(location, scale, 109, 109)[0, 0].tolist()
    rows, columns = there.sum(dim=1).nonzero(), there.sum(dim=0).nonzero()
    assert (rows.min(), rows.max() + 1) == (pytest.approx(top), pytest.approx(bottom))
    assert columns.min() == pytest.approx(left)
    assert columns.max() + 1 == pytest.approx(right)


def test_phases_of_saccader_train_their_own_part():
    data = batch(109)
    parts, terms = {}, {}
    for progress, phase in ((0.0, "class"), (0.6, "order"), (0.7, "places")):
        net = tiny_saccader(phases=(0.6, 0.7)).train()
        loss = net.loss(data | {"progress": progress})
        loss.total.backward()
        reached = {n for n, p in net.named_parameters() if p.grad is not None}
        parts[phase] = {name.split(".")[0] for name in reached}
        terms[phase] = {name for name, term in loss.terms.items() if term.requires_grad}
    assert parts["class"] == {"places"} and terms["class"] == {"class"}
    assert parts["order"] == {"attend", "mix", "weigh"} and terms["order"] == {"order"}
    assert parts["places"] == {"places", "attend", "mix", "weigh"}
    assert terms["places"] == {"class", "places"}
    assert set(net.loss(data).terms) == {"class", "order", "places"}
    for phases in ((0.7, 0.6), (0.5, 1.1)):
        with pytest.raises(ValueError, match="two shares of training in order"):
            tiny_saccader(phases=phases)


def test_the_second_phase_teaches_the_order_of_the_scores():
    torch.manual_seed(0)
    net = tiny_saccader(phases=(0.0, 1.0)).train()
    data = batch(101) | {"progress": 0.5}
    for block in net.places.body[3:]:
        torch.nn.init.ones_(block.body[-1].weight)
    optimiser = torch.optim.Adam(net.parameters(), 3e-2)
    losses = []
    for _ in range(12):
        loss = net.loss(data)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(loss.total.item())
    assert losses[-1] < losses[0] - 0.1, losses
    with torch.no_grad():
        seen = net.visit(2 * data["image"] - 1, 12, taught=True)
    flat = seen.classes.flatten(2)  # (B, classes, h w)
    for scores, places in zip(flat, seen.place, strict=True):
        of_likely = scores[scores.mean(dim=1).argmax()][places]
        assert (of_likely.diff() <= 0).all() and len(places.unique()) == 12


def test_fewer_places_of_saccader_are_the_first_of_more():
    net = tiny_saccader().eval()
    image = batch(109)["image"]
    with torch.no_grad():
        seen = net.visit(2 * image - 1, 5, sample=False)
    for k in (1, 3, 5):
        p = net.predict(image, glimpses=k).probabilities
        torch.testing.assert_close(seen.chosen(k).softmax(dim=1), p)


def test_dram_sees_fine_squares_and_the_mean_of_coarse_ones():
    net, x = tiny_dram().eval(), batch(100)["image"]
    with_places = net._with_coordinates(2 * x - 1)
    location = torch.tensor([[0.3, -0.2]]).expand(3, 2)
    whole = net.glimpses(with_places, location, True).view(3, 3, 5, 33, 33)
    fine = net.glimpses(with_places, location, False).view(3, 3, 5, 33, 33)
    torch.testing.assert_close(whole[:, 0], fine[:, 0])
    middle = whole[0, 0, 3:].mean(dim=(1, 2))
    torch.testing.assert_close(middle, location[0], rtol=0, atol=1e-4)
    mean = whole[:, 1:].mean(dim=(3, 4), keepdim=True).expand_as(fine[:, 1:])
    torch.testing.assert_close(fine[:, 1:], mean)


def test_dram_learns_and_stays_inside():
    net = tiny_dram().train()
    loss = net.loss(batch(100))
    loss.total.backward()
    assert set(loss.terms) == {"class", "places"} and loss.total.isfinite()
    assert all(p.grad is not None for p in net.parameters())
    seen = net.predict(batch(100)["image"], sample=True, glimpses=4)
    assert seen.location.shape == (3, 4, 2)
    assert (seen.location.abs() + seen.scale[..., None] <= 1 + 1e-6).all()
    torch.testing.assert_close(seen.probabilities.sum(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match="square images of 33 pixels"):
        net.predict(torch.rand(1, 3, 20, 20))


def test_the_lstm_is_torchs_but_for_its_forget_bias():
    torch.manual_seed(0)
    ours, theirs = imagenet_dram.Lstm(5, 3), torch.nn.LSTMCell(5, 3)
    x, h, c = torch.rand(2, 5), torch.rand(2, 3), torch.rand(2, 3)
    i, j, f, o = ours.dense.weight.chunk(4)
    b_i, b_j, b_f, b_o = ours.dense.bias.chunk(4)
    order = torch.cat((i, f, j, o))  # torch: input, forget, cell, output
    with torch.no_grad():
        theirs.weight_ih.copy_(order[:, :5])
        theirs.weight_hh.copy_(order[:, 5:])
        theirs.bias_ih.copy_(torch.cat((b_i, b_f + 1, b_j, b_o)))
        theirs.bias_hh.zero_()
        for a, b in zip(ours(x, (h, c)), theirs(x, (h, c)), strict=True):
            torch.testing.assert_close(a, b)


def test_the_mean_of_class_scores_is_of_the_visited_places():
    classes = torch.rand(2, 4, 3, 3)
    seen = saccader.Visits(torch.tensor([[0, 8], [4, 5]]), None, classes)
    wanted = (classes[0, :, 0, 0] + classes[0, :, 2, 2]) / 2
    torch.testing.assert_close(seen.chosen()[0], wanted)
