"""The networks behind TNet: tables 4 and 5, layer by layer."""

import pytest
import torch

from saccade_lib import cost
from saccade_lib._compat import torchvision
from saccade_lib.models import bagnet, efficientnet, tnet

# Table 4: output side and receptive field of each layer, for an image of 77 pixels.
TABLE_4 = [(75, 3), (38, 5), (38, 9), (38, 9), (19, 13), *[(19, 21)] * 3]
TABLE_4 += [(9, 29), *[(9, 45)] * 5, (7, 61), (7, 77), (7, 77)]
# Table 5, with the receptive fields that its layers have, for 224 pixels.
TABLE_5 = [(112, 3), (112, 7), (56, 11), (56, 19), (28, 35), (28, 67), (14, 83)]
TABLE_5 += [(14, 115), (14, 147), (14, 211), (14, 275), (14, 339), (7, 403)]
TABLE_5 += [(7, 531), (7, 659), (7, 787), (7, 851)]


def on_meta(make):
    with torch.device("meta"):
        return make().eval()


def shape_of(side):
    return torch.empty(1, 3, side, side, device="meta")


@pytest.mark.parametrize(
    "net, side, table",
    [
        (bagnet.BagNet, 77, TABLE_4),
        (efficientnet.EfficientNet, 224, TABLE_5),
    ],
)
def test_sizes_and_receptive_fields(net, side, table):
    found = cost.receptive_fields(on_meta(net).chain(), side)
    assert [(v.side, v.field) for v in found] == table


def test_sizes_are_those_of_the_maps():
    net, sides = on_meta(bagnet.BagNet), []
    for group in net.groups:
        group.register_forward_hook(lambda *args: sides.append(args[2].shape[-1]))
    maps, vector = net(shape_of(77))
    assert sides == [38, 19, 9, 7] and maps.shape == (1, 1024, 9, 9)
    assert vector.shape == (1, 512)
    sides.clear()
    net(shape_of(224))
    assert sides == [111, 56, 27, 25]


def test_a_place_of_the_map_sees_45_pixels():
    """The receptive field by its definition: which pixels move one number."""
    torch.manual_seed(0)
    net = bagnet.BagNet(1, 1 / 16, "small").double()
    image = torch.rand(1, 1, 77, 77, dtype=torch.float64, requires_grad=True)
    maps, _ = net(image)
    (slope,) = torch.autograd.grad(maps[0, :, 4, 4].sum(), image)
    rows = slope[0, 0].abs().sum(dim=1).nonzero().flatten()
    at = cost.receptive_fields(net.chain(), 77)[9]
    assert rows.max() - rows.min() + 1 == at.field == 45
    assert (rows.max() + rows.min() + 1) / 2 == at.first + 4 * at.step


def test_efficientnet_is_torchvisions():
    torch.manual_seed(0)
    ours = efficientnet.EfficientNetB0(efficientnet.Config(10)).eval()
    theirs = torchvision.models.efficientnet_b0(num_classes=10).eval()
    weights = list(theirs.state_dict().values())
    names = list(ours.state_dict())
    assert len(names) == len(weights)
    ours.load_state_dict(dict(zip(names, weights, strict=True)))
    image = torch.rand(1, 3, 64, 64)
    x = y = 2 * image - 1
    layers = [ours.body.stem, *ours.body.stages, ours.body.last]
    with torch.no_grad():
        for a, b in zip(layers, theirs.features, strict=True):
            x, y = a(x), b(y)
            torch.testing.assert_close(x, y)
        torch.testing.assert_close(ours(image), theirs(2 * image - 1))


def test_counts_of_efficientnet():
    net = on_meta(lambda: efficientnet.EfficientNetB0(efficientnet.Config(62)))
    assert cost.parameters(net, statistics=True) == 4_128_986
    assert cost.parameters(net) == 4_086_970
    x = shape_of(224)
    assert cost.multiplications(lambda: net.predict(x)) == 384_614_112
    rescaled = cost.outputs(
        lambda: net.predict(x), net, kind=efficientnet.SqueezeExcite
    )
    assert rescaled == 2_306_528


@pytest.mark.parametrize(
    "side, locations, strict, rescaled",
    [
        (224, (0,), 385_147_472, 2_307_248),
        (448, (1,), 770_091_824, 4_613_776),
        (896, (2, 1), 1_925_172_400, 11_534_800),
        (896, (3, 1), 2_695_184_864, 16_148_576),
        (896, (2, 2), 2_695_061_104, 16_147_856),
    ],
)
def test_counts_of_the_satellite_model(side, locations, strict, rescaled):
    net, x = on_meta(lambda: tnet.TNet(tnet.FMOW)), shape_of(side)
    assert cost.parameters(net, statistics=True) == 4_559_591
    assert cost.parameters(net) == 4_517_575
    assert [cost.parameters(m) for m in (net.locate, net.position)] == [19_725, 410_880]

    def run():
        return net.predict(x, locations=locations)

    assert cost.multiplications(run) == strict
    assert cost.outputs(run, net, efficientnet.SqueezeExcite) == rescaled


@pytest.mark.parametrize("backbone", ["bagnet", "efficientnet"])
def test_gradients_reach_all_but_the_head_of_where(backbone):
    torch.manual_seed(0)
    small = {"bagnet": (1 / 16, 77, 5), "efficientnet": (1 / 4, 64, 3)}
    width, base, grid = small[backbone]
    more = {"width": width, "base": base, "grid": grid}
    config = tnet.mini(3, backbone=backbone, cell=0.5, depth_drop=0.5, **more)
    net = tnet.TNet(config).train()
    data = {"image": torch.rand(3, 3, 2 * base, 2 * base), "label": torch.arange(3)}
    loss = net.loss(data)
    assert set(loss.terms) == {"class", "each", "places", "places_each"}
    loss.total.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_skipped_blocks_keep_the_mean():
    torch.manual_seed(0)
    stage = efficientnet.Stage(1, 3, 4, 1, 2)
    block = efficientnet.MBConv(4, stage, 4, 1)
    block.drop = 0.4
    x = torch.rand(1, 4, 5, 5).expand(4_000, -1, -1, -1)
    block.body.eval()  # its statistics; the block itself stays in training
    with torch.no_grad():
        whole = block.body(x[:1])
        added = block(x) - x
    kept = added.abs().sum(dim=(1, 2, 3)) > 0
    assert kept.float().mean() == pytest.approx(0.6, abs=0.03)
    torch.testing.assert_close(added[kept][:1], whole / 0.6)


def test_an_unknown_number_of_blocks_is_refused():
    for net in (bagnet.BagNet, efficientnet.EfficientNet):
        with pytest.raises(ValueError, match="one of full, small"):
            net(blocks="half")
