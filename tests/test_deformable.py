"""Deformable convolution in plain torch."""

import pytest
import torch
from torch.nn import functional as F

from saccade_lib._compat import torchvision
from saccade_lib.deformable import DeformConv2d, deform_conv2d


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=draw(seed), dtype=torch.float64)


def case(stride=1, padding=1, dilation=1):
    x, weight, bias = random(2, 3, 7, 9), random(4, 3, 3, 3, seed=1), random(4, seed=2)
    like = F.conv2d(x, weight, bias, stride, padding, dilation)
    return x, weight, bias, like


SETTINGS = [(1, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 2)]


@pytest.mark.parametrize("settings", SETTINGS)
def test_without_offsets_it_is_a_convolution(settings):
    x, weight, bias, like = case(*settings)
    offset = x.new_zeros(2, 18, *like.shape[2:])
    assert torch.allclose(deform_conv2d(x, offset, weight, bias, *settings), like)


def test_whole_offsets_read_neighbours():
    x, weight, bias, like = case()
    offset = x.new_zeros(2, 18, 7, 9)
    offset[:, 0::2], offset[:, 1::2] = 1, -2  # one row down, two columns to the left
    moved = F.pad(x, (2, 0, 0, 1))[:, :, 1:, :9]  # zero outside
    found = deform_conv2d(x, offset, weight, bias, padding=1)
    there = F.conv2d(moved, weight, bias, padding=1)
    assert torch.allclose(found[:, :, 1:-1, 1:-1], there[:, :, 1:-1, 1:-1])


def test_one_tap_alone_is_moved():
    x, _, _, _ = case()
    weight = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    weight[0, 1, 0, 2] = 1  # reads channel 1, one row up and one column to the right
    offset = x.new_zeros(2, 18, 7, 9)
    offset[:, 2 * 2], offset[:, 2 * 2 + 1] = 0.25, -0.5  # of tap 2
    found = deform_conv2d(x, offset, weight, padding=1)[0, 0, 3, 4]
    cut = x[0, 1, 2:4, 4:6]  # around row 2.25, column 4.5
    rows = cut.mean(dim=1)
    assert found == pytest.approx(float(0.75 * rows[0] + 0.25 * rows[1]))


def test_its_gradients_are_those_of_finite_differences():
    x, weight, bias, _ = case()
    x = x[:1, :2, :3, :3].clone()
    offset = 0.3 * torch.rand(1, 18, 3, 3, generator=draw(3), dtype=torch.float64)
    given = (x, offset + 0.1, weight[:2, :2].clone(), bias[:2].clone())
    given = tuple(t.requires_grad_() for t in given)
    run = lambda *a: deform_conv2d(*a, padding=1)  # noqa: E731
    assert torch.autograd.gradcheck(run, given, atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_equals_torchvisions(settings):
    x, weight, bias, like = case(*settings)
    offset = random(2, 18, *like.shape[2:], seed=4)
    try:
        torchvision.ops.deform_conv2d(x, offset, weight, bias, *settings)
    except (RuntimeError, NotImplementedError, AttributeError):
        pytest.skip("torchvision's compiled operators do not load here")
    given = [t.requires_grad_() for t in (x, offset, weight, bias)]
    aim = random(*like.shape, seed=5)
    pairs = []
    for conv in (deform_conv2d, torchvision.ops.deform_conv2d):
        y = conv(*given, *settings)
        pairs.append((y, *torch.autograd.grad((y * aim).sum(), given)))
    for ours, theirs in zip(*pairs, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-8)


def test_the_layer_starts_as_a_convolution_and_learns_offsets():
    torch.manual_seed(0)
    layer, x = DeformConv2d(3, 4, stride=2), random(2, 3, 8, 8).float()
    y = layer(x)
    assert torch.allclose(y, layer.conv(x), atol=1e-6)
    y.square().sum().backward()
    assert layer.offset.bias.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused():
    x, weight, _, _ = case()
    with pytest.raises(ValueError, match=r"\(B, 18, 5, 7\)"):
        deform_conv2d(x, x.new_zeros(2, 18, 7, 9), weight)
    with pytest.raises(ValueError, match="odd"):
        DeformConv2d(3, 4, 2)
