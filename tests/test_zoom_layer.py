"""The saliency sampler as a layer: wrapping, reading, labels, files."""

import json
import re
import shutil
import subprocess

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from saccade_lib import glimpse, pyramid, toy_maps, zoom, zoom_labels, zoom_reading
from saccade_lib.explorer import painter
from saccade_lib.models import baselines
from saccade_lib.models.zoom import (
    Config,
    SaliencyNetwork,
    SaliencySampler,
    SmallSaliency,
    Stored,
    blurred,
    warp,
)

N, SIGMA = 31, zoom.CODE_SIGMA


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=2, h=96, w=80, channels=3):
    return torch.rand(count, channels, h, w, generator=draw())


class Task(nn.Module):
    def __init__(self, classes=4, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, 2)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean(dim=(2, 3)))


def model(**changes):
    torch.manual_seed(0)
    config = Config(**{"size": (24, 20), "cells": 9} | changes)
    return SaliencySampler(Task(), SmallSaliency(width=4), config)


# ---------------------------------------------------------------- the model


def test_it_starts_as_area_averages_and_then_looks():
    net, x = model(), images()
    seen = net.read(x)  # 96 x 80 read at 24 x 20
    assert torch.allclose(seen.image, F.avg_pool2d(x, 4), atol=1e-5)
    assert torch.allclose(seen.saliency, torch.full((2, 9, 9), 1 / 81))
    with torch.no_grad():
        net.saliency.last.weight.normal_(0, 3, generator=draw())
    bent = net.read(x)
    assert (bent.at - seen.at).abs().max() > 0.02
    assert torch.allclose(bent.saliency.sum(dim=(1, 2)), torch.ones(2))


def test_the_loss_reaches_every_weight():
    net = model().train()
    with torch.no_grad():
        net.saliency.last.weight.normal_(0, 1, generator=draw())
    batch = {"image": images(4), "label": torch.arange(4)}
    loss = net.loss(batch)
    assert set(loss.terms) == {"class"}
    loss.total.backward()
    for name, p in net.named_parameters():
        if not name.endswith("saliency.last.bias"):  # a softmax does not see it
            assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("size", [(64, 64), (50, 131), (17, 20)])
def test_images_of_any_size_give_one_answer_each(size):
    found = model().predict(images(3, *size))
    assert found.probabilities.shape == (3, 4)
    assert torch.allclose(found.probabilities.sum(dim=1), torch.ones(3))
    assert found.saliency.shape == (3, 9, 9) and found.at.shape == (3, 24, 20, 2)


def test_blur_is_there_for_the_first_share_of_the_training_only():
    net, x = model(blur=0.3), images()
    batch = {"image": x, "label": torch.tensor([0, 1])}
    seen = []
    net.task.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    for training, progress in ((True, 0.1), (True, 0.5), (False, 0.1)):
        net.train(training).loss(batch | {"progress": progress})
    plain = net.eval().read(x).image
    variation = [float(j.diff(dim=-1).abs().mean()) for j in (*seen, plain)]
    assert variation[0] < 0.9 * variation[3]
    assert variation[1] == pytest.approx(variation[2], rel=0.2)
    assert torch.equal(seen[2], plain)
    J = torch.full((1, 1, 8, 8), 0.3)
    assert torch.allclose(blurred(J, 0.3), J)


@pytest.mark.parametrize("layers, cells", [(6, 16), (10, 8), (14, 4)])
def test_the_saliency_network_is_the_beginning_of_resnet_18(layers, cells):
    net = SaliencyNetwork(layers, width=8).eval()
    whole = baselines.ResNet18(8)
    fits = [k for k in whole.state_dict() if k in net.trunk.state_dict()]
    assert len(fits) == len(net.trunk.state_dict())
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.kernel_size != (1, 1) for m in convs) + 1 == layers
    assert net(images(1, 64, 64)).shape == (1, cells, cells)
    with pytest.raises(ValueError, match="layers"):
        SaliencyNetwork(8)


def test_groups_hold_every_weight_once():
    net = model()
    groups = net.groups(0.1)
    held = [id(p) for g in groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())
    assert [g["lr"] for g in groups] == pytest.approx([0.1, 1e-4, 1e-3])


# ---------------------------------------------------------------- warp by itself


def test_strength_zero_changes_nothing_and_multiplies_to_first_order():
    S = 1 + 1e-3 * torch.rand(1, 9, 13, generator=draw(), dtype=torch.float64)
    x = images(1, 40, 60).double()
    assert torch.allclose(warp(x, S, 0.0), x, atol=1e-6)
    sigma = zoom.in_cells(0.2, S)
    still, once, thrice = (
        zoom.positions(S**power, (40, 60), sigma) for power in (0, 1, 3)
    )
    off = (thrice - still) - 3 * (once - still)
    assert off.abs().max() < 0.01 * (thrice - still).abs().max()


def test_warp_does_not_care_for_scale_and_says_what_is_wrong():
    S, x = torch.rand(2, 5, 7, generator=draw()) + 0.1, images()
    assert torch.allclose(warp(x, 1e-12 * S, 4.0), warp(x, S, 4.0), atol=1e-4)
    assert warp(x, S, size=(10, 12)).shape == (2, 3, 10, 12)
    for wrong in ((x[0], S), (x, S[0])):
        with pytest.raises(ValueError, match="single"):
            warp(*wrong)
    with pytest.raises(ValueError, match="strength"):
        warp(x, S, -1.0)


# ---------------------------------------------------------------- reading


def blob(x=10.0, y=18.0, floor=0.02):
    return toy_maps.normalised(toy_maps.blob(N, torch.tensor([[x, y]]), 3.0) + floor)


def test_footprints_are_those_of_the_slopes():
    at = zoom.positions(blob(), (60, 90), SIGMA)
    slopes = zoom.jacobian(blob(), (60, 90), SIGMA)
    exact = (torch.linalg.det(slopes) * (300 / 60) * (450 / 90)).sqrt()
    found = zoom_reading.footprint(at, (300, 450))
    assert torch.allclose(found, exact, rtol=0.05)
    one = zoom.positions(torch.ones(1, 3, 3), (1, 1), 1.0)
    assert float(zoom_reading.footprint(one, (30, 40))) == pytest.approx(1200**0.5)


def test_shares_are_averages_of_the_right_size():
    at = zoom.positions(torch.ones(1, N, N).double(), (32, 32), SIGMA)
    for factor, level in ((1, 0), (2, 0), (4, 1), (8, 2)):
        share = zoom_reading.shares(at, (32 * factor, 32 * factor))
        assert torch.allclose(share.sum(dim=0), torch.ones(1, 32, 32).double())
        assert (share[level] > 0.999).all()


def test_even_grids_read_area_averages_and_dense_ones_single_pixels():
    x = images(1, 128, 128).double()
    even = zoom.positions(torch.ones(1, N, N).double(), (32, 32), SIGMA)
    assert torch.allclose(zoom_reading.warp(x, even), F.avg_pool2d(x, 4), atol=1e-6)
    dense = zoom.positions(torch.ones(1, N, N).double(), (128, 128), SIGMA)
    assert torch.allclose(zoom_reading.warp(x, dense), x, atol=1e-6)


def test_gradients_reach_the_places():
    at = zoom.positions(blob(), (16, 16), SIGMA).requires_grad_()
    zoom_reading.warp(images(1, 64, 64).double(), at).square().sum().backward()
    assert at.grad.isfinite().all() and at.grad.abs().sum() > 0


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoom")
    x = (torch.rand(2, 3, 1024, 512, generator=draw()) * 255).round()
    paths = [
        pyramid.write(folder / f"{b}.tif", x[b].byte(), compression="deflate")
        for b in range(2)
    ]
    with pyramid.Pyramids(paths, threads=1) as store:
        yield store, x / 255


def test_files_give_the_pixels_that_memory_gives(stored):
    store, x = stored
    S = torch.cat((blob(), blob(22.0, 6.0)))
    for size in ((64, 32), (200, 120), (40, 16)):  # the last needs more levels
        at = zoom.positions(S, size, SIGMA).requires_grad_()
        read = zoom_reading.warp_files(store, torch.tensor([1, 0]), at)
        true = zoom_reading.warp(x[[1, 0]].double(), at)
        assert torch.allclose(read, true, atol=1.1 / 255)  # levels are rounded
        (g_read,) = torch.autograd.grad(read.sum(), at)
        (g_true,) = torch.autograd.grad(true.sum(), at)
        assert (g_read - g_true).abs().mean() < 0.05 * g_true.abs().mean()


def test_only_what_is_needed_is_read(stored):
    store, _ = stored
    about = store.about(0)
    at = 0.2 * zoom.positions(torch.ones(1, N, N).double(), (64, 32), SIGMA) + 0.5
    boxes = [b for b in zoom_reading.regions(about.levels, about.shape, at) if b]
    assert sum(w * h for *_, w, h in boxes) < 0.1 * 1024 * 512
    for number, left, top, width, height in boxes:
        level = about.levels[number]
        assert 0 <= left < left + width <= level.width
        assert 0 <= top < top + height <= level.height


def test_a_model_reads_files(stored):
    store, x = stored
    net = model(size=(32, 32))
    index = torch.tensor([0, 1])
    on_disk, held = net.predict(Stored(store, index)), net.predict(x)
    assert torch.allclose(on_disk.probabilities, held.probabilities, atol=1e-3)
    with pytest.raises(ValueError, match="indices"):
        zoom_reading.warp_files(store, index[:1], held.at)


# ---------------------------------------------------------------- there and back

PIXEL = 1e-4 * 2 / 800  # a ten-thousandth of a pixel of 800


@pytest.mark.parametrize("family", [toy_maps.soft_noise, toy_maps.blobs])
@pytest.mark.parametrize("padding", ["replicate", "reflect"])
@pytest.mark.parametrize("sigma", [2.0, SIGMA, (N / 3, 4.0)])
def test_points_go_there_and_back(family, padding, sigma):
    S = family(2, N, draw())
    p = 2 * torch.rand(2, 30, 2, generator=draw(1), dtype=torch.float64) - 1
    image = zoom_labels.to_image(S, p, sigma, padding)
    assert (zoom_labels.to_output(S, image, sigma, padding) - p).abs().max() < PIXEL
    back = zoom_labels.to_output(S, p, sigma, padding)
    again = zoom_labels.to_image(S, back, sigma, padding)
    assert (again - p).abs().max() < PIXEL
    if padding == "reflect":
        assert back.abs().max() <= 1


def test_single_places_are_those_of_the_grid():
    S = torch.rand(2, 5, 7, generator=draw(), dtype=torch.float64)
    x = glimpse.pixel_centres(6, dtype=torch.float64).expand(4, 6)
    y = glimpse.pixel_centres(4, dtype=torch.float64)[:, None].expand(4, 6)
    points = torch.stack((x, y), dim=-1).flatten(0, 1).expand(2, -1, 2)
    for padding in zoom.PADDINGS:
        at, slopes = zoom.at_points(S, points, (1.2, 2.0), padding)
        grid = zoom.positions(S, (4, 6), (1.2, 2.0), padding)
        bent = zoom.jacobian(S, (4, 6), (1.2, 2.0), padding)
        assert torch.allclose(at, grid.flatten(1, 2), atol=1e-12)
        assert torch.allclose(slopes, bent.flatten(1, 2), atol=1e-12)
    with pytest.raises(ValueError, match="points"):
        zoom.at_points(S, points[:1], 1.0)


def test_what_no_place_reads_is_not_a_number():
    S = torch.ones(1, 9, 9).double()
    far = torch.tensor([[[0.0, 0.0], [0.99, 0.0], [3.0, 0.0]]])
    found = zoom_labels.to_output(S, far, 1.0, "none")
    assert found[0, 0].abs().max() < 1e-6 and found[0, 2].isnan().any()


def test_a_box_holds_what_it_held():
    S = toy_maps.blobs(1, N, draw())
    box = torch.tensor([[[-0.4, -0.3, 0.2, 0.5], [-1, -1, 1, 1]]]).double()
    there = zoom_labels.boxes_to_output(S, box, SIGMA)
    assert torch.allclose(there[0, 1], box[0, 1], atol=1e-6)  # the whole stays whole
    inside = torch.rand(1, 200, 2, generator=draw(), dtype=torch.float64)
    inside = box[:, :1, :2] + inside * (box[:, :1, 2:] - box[:, :1, :2])
    p = zoom_labels.to_output(S, inside, SIGMA)
    assert (p > there[:, :1, :2] - 5e-3).all() and (p < there[:, :1, 2:] + 5e-3).all()
    back = zoom_labels.boxes_to_image(S, there, SIGMA)
    assert (back[..., :2] <= box[..., :2] + 1e-3).all()
    assert (back[..., 2:] >= box[..., 2:] - 1e-3).all()
    for wrong, says in ((box[0], "floats"), (box.flip(-1), "before it begins")):
        with pytest.raises(ValueError, match=says):
            zoom_labels.boxes_to_image(S, wrong, SIGMA)


def test_labels_are_read_unmixed():
    labels = torch.arange(12).view(1, 3, 4)
    even = zoom.positions(torch.ones(1, 5, 5), (3, 4), 1.0)
    assert torch.equal(zoom_labels.warp_labels(labels, even), labels)
    far = torch.full((1, 2, 2, 2), 3.0)
    assert (zoom_labels.warp_labels(labels, far) == 11).all()
    with pytest.raises(ValueError, match="whole numbers"):
        zoom_labels.warp_labels(labels.float(), even)


def test_a_heat_map_returns_to_its_place():
    S = blob()
    x = glimpse.pixel_centres(80, dtype=torch.float64)
    image = torch.stack((x.expand(80, 80), x[:, None].expand(80, 80)))[None]
    J = zoom.warp(image, zoom.positions(S, (80, 80), SIGMA))
    back, shown = zoom_labels.unwarp(J, S, (40, 40), SIGMA)
    small = glimpse.pixel_centres(40, dtype=torch.float64)
    assert shown.all()
    inner = back[0, :, 2:-2, 2:-2]  # within a pixel of J's border nothing is mixed
    assert torch.allclose(inner[0], small[2:-2].expand(36, 36), atol=2e-3)
    assert torch.allclose(inner[1], small[2:-2, None].expand(36, 36), atol=2e-3)
    cut = zoom_labels.unwarp(J, S, (40, 40), N / 3, "replicate")[1]
    assert not cut.all() and cut.any()


# ---------------------------------------------------------------- the painter


def test_the_painter_needs_no_network_and_no_mouse():
    html = painter(torch.zeros(3, 9, 12), (0.1, -0.2))._repr_html_()
    assert not re.search(r"""\sid=|\ssrc=|https?:|url\(|@import|\$""", html)
    assert "<noscript>" in html and html.count('type="range"') == 3
    with pytest.raises(ValueError, match="400"):
        painter(torch.zeros(1, 500, 9))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_browser_bends_as_the_library():
    html = painter(torch.zeros(1, 9, 9))._repr_html_()
    functions = re.search(r"function matrices.*?(?=\n  // The map with)", html, re.S)[0]
    S = torch.rand(1, 9, 9, generator=draw(), dtype=torch.float64) + 0.01
    script = (
        f"{functions}\nconst S = JSON.parse(require('fs').readFileSync(0));\n"
        "process.stdout.write(JSON.stringify(Array.from(positions(S, 9, 6, 8, 1.7))));"
    )
    answer = subprocess.run(
        ["node", "-e", script],
        input=json.dumps(S.flatten().tolist()),
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    found = torch.tensor(json.loads(answer.stdout), dtype=torch.float64)
    assert torch.allclose(found.view(1, 6, 8, 2), zoom.positions(S, (6, 8), 1.7))
