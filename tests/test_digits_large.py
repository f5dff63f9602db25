"""What is read of a canvas by windows is what the whole canvas would show."""

from dataclasses import fields

import pytest
import torch
from test_digits import embedded
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.data.digits import Canvases, Windows, enlarging, shrinking

INDEX = torch.tensor([3, 0, 11, 7])
LARGE = dict(side=400, digit=56)
SOURCES = [
    Canvases(embedded(), "sum", **LARGE),
    Canvases(embedded(), "identification", clutter=0, **LARGE),
    Canvases(embedded(), "translated", "test", **LARGE),
    Canvases(embedded(), "sum", side=90, enlarge=333),
    Canvases(embedded(), "identification", side=90, enlarge=333),
]


def of(canvases):
    kind = "enlarged" if canvases.enlarge else "true"
    return f"{canvases.task}-{kind}"


sources = pytest.mark.parametrize("canvases", SOURCES, ids=of)


def read(canvases, proxy=16, **more):
    """The same canvases, read by windows."""
    same = {f.name: getattr(canvases, f.name) for f in fields(canvases)}
    return Windows(**same, proxy=proxy, **more)


def windows_of(count, scale, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.full((len(INDEX), count), scale)
    location = (torch.rand(len(INDEX), count, 2, generator=draw) * 2 - 1) * (
        1 - scale[..., None]
    )
    return location, scale


@pytest.mark.parametrize("task", ["identification", "single", "sum"])
def test_a_region_is_a_part_of_the_composed_canvas(task):
    """Bit for bit, clutter and all, at corners, inside, and over the whole."""
    canvases = Canvases(embedded(), task, side=300, digit=42)
    whole = canvases.batch(INDEX)["image"]
    for b, index in enumerate(INDEX.tolist()):
        for left, top, w, h in [(0, 0, 300, 300), (13, 40, 99, 7), (250, 299, 50, 1)]:
            part = canvases.region(index, left, top, w, h)
            assert torch.equal(part, whole[b, :, top : top + h, left : left + w])


def test_a_region_of_an_enlarged_canvas_is_its_part_to_rounding():
    canvases = Canvases(embedded(), "identification", enlarge=700)
    whole = canvases.batch(INDEX[:1])["image"][0]
    part = canvases.region(3, 300, 0, 400, 500)
    assert torch.allclose(part, whole[:, :500, 300:], atol=1e-6)


def test_pixels_outside_the_canvas_are_zero():
    for canvases in SOURCES:
        K = canvases.enlarge or canvases.side
        at = torch.tensor([-5, -1, K, K + 9]).expand(len(INDEX), 1, 4)
        every = torch.arange(K).expand(len(INDEX), 1, K)
        layout = canvases.layout(INDEX)
        assert canvases.pixels(layout, at, every).abs().max() == 0
        assert canvases.pixels(layout, every, at).abs().max() == 0


@sources
@pytest.mark.parametrize("scale", [0.08, 0.31, 1.0])
def test_a_window_is_the_crop_of_the_whole_canvas(canvases, scale):
    whole, parts = canvases.batch(INDEX), read(canvases).batch(INDEX)
    location, scale = windows_of(3, scale)
    reach = 1 - scale[:, 1, None]
    location[:, 1] = whole["centre"][:, 0].clamp(-reach, reach)
    true = glimpse.crop(whole["image"], location, scale, 12)
    cut = parts["crop"](location, scale, 12)
    assert cut.shape == true.shape
    assert torch.allclose(cut, true, atol=2e-5)
    assert true.max() > 0.2  # a digit was seen


@sources
def test_a_window_s_gradient_is_that_of_the_crop(canvases):
    """In float64, where no sampling point falls on a pixel's centre by rounding."""
    image, parts = canvases.batch(INDEX)["image"], read(canvases).batch(INDEX)
    found = []
    for cut in (lambda *w: glimpse.crop(image.double(), *w), parts["crop"]):
        location, scale = (v.double().requires_grad_() for v in windows_of(2, 0.2))
        crops = cut(location, scale, 10)
        weights = torch.linspace(-1, 2, crops.numel(), dtype=torch.float64)
        (crops.flatten() * weights).sum().backward()
        found.append(torch.cat((location.grad.flatten(), scale.grad.flatten())))
    assert found[0].abs().max() > 1
    assert torch.allclose(*found, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("canvases", SOURCES[:3], ids=of)
@pytest.mark.parametrize("scale, factor", [(0.08, 2), (0.31, 8), (1.0, 16), (0.03, 1)])
def test_an_antialiased_window_is_the_crop_of_a_level(canvases, scale, factor):
    """400 pixels halve four times; twelve points of a window need twelve pixels."""
    windows = read(canvases, antialias=True)
    assert windows.level(scale, 12) == factor
    whole, parts = canvases.batch(INDEX), windows.batch(INDEX)
    level = F.avg_pool2d(whole["image"], factor)
    location, scale = windows_of(3, scale)
    reach = 1 - scale[:, 1, None]
    location[:, 1] = whole["centre"][:, 0].clamp(-reach, reach)
    true = glimpse.crop(level, location, scale, 12)
    cut = parts["crop"](location, scale, 12)
    assert torch.allclose(cut, true, atol=2e-5)
    assert true.max() > 0.1


@sources
def test_a_soft_window_fades_from_its_centre_to_nothing(canvases):
    location, scale = windows_of(2, 0.4)
    hard = read(canvases).batch(INDEX)["crop"](location, scale, 9)
    soft = read(canvases, soft=True).batch(INDEX)["crop"](location, scale, 9)
    assert torch.equal(soft[..., 4, 4], hard[..., 4, 4])
    at = torch.cos(torch.tensor([[0.0, 4 / 9, 8 / 9]]) * torch.pi / 2)
    ratio = soft[..., 4:9:2, 4:9:2] / (at.T @ at)
    assert torch.allclose(ratio, hard[..., 4:9:2, 4:9:2], atol=1e-5)


def test_an_enlarged_canvas_has_one_level():
    assert read(SOURCES[4], antialias=True).level(1.0, 12) == 1


@sources
@pytest.mark.parametrize("proxy", [16, 32])
def test_the_proxy_is_that_of_the_whole_canvas(canvases, proxy):
    whole, parts = canvases.batch(INDEX), read(canvases, proxy).batch(INDEX)
    true = glimpse.downsample(whole["image"], proxy)
    assert torch.allclose(parts["proxy"], true, atol=2e-6)
    assert parts["image"] is parts["proxy"]
    for name in ("label", "digits", "centre"):
        assert torch.equal(parts[name], whole[name])
    assert read(canvases).classes == canvases.classes


@pytest.mark.parametrize("side, proxy", [(2528, 32), (400, 32), (130, 32), (40, 16)])
def test_shrinking_is_a_mean_along_the_axis(side, proxy):
    """Each of its rows sums to one, and it agrees with `glimpse.downsample`."""
    matrix = shrinking(side, proxy)
    assert torch.allclose(matrix.sum(dim=1), torch.ones(proxy), atol=1e-5)
    line = torch.rand(side, generator=torch.Generator().manual_seed(side))
    image = line.expand(1, 1, side, side)
    shrunk = glimpse.downsample(image, proxy)
    assert torch.allclose(shrunk[0, 0, 3], matrix @ line, atol=1e-5)


def test_enlarging_leaves_constants_alone():
    matrix = enlarging(100, 2528)
    assert torch.allclose(matrix.sum(dim=1), torch.ones(2528))
    assert (matrix > 0).sum(dim=1).max() == 2


def test_clutter_of_true_canvases_is_refused_with_a_reason():
    with pytest.raises(ValueError, match="'single' need clutter=0 or enlarged"):
        Windows(embedded(), "single", **LARGE)
