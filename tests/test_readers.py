"""Readers, their classifiers, and what is measured of a reading."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from saccade_lib import glimpse, train, zoom, zoom_labels, zoom_measures
from saccade_lib.models import readers, zoom_classifier
from saccade_lib.models.zoom_classifier import ClassifierConfig, ZoomClassifier
from saccade_lib.runs.experiment import MODELS

LEARNED = ("sampler", "affine", "tps", "grid")
SIZE = (16, 12)
BOX = torch.tensor([[-0.5, 0.1, 0.1, 0.7], [0.2, -0.9, 0.8, -0.3], [0, 0, 0.5, 0.5]])


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def config(reader="sampler", **changes):
    given = {"size": SIZE, "cells": 9, "channels": 2, "look_width": 4, "width": 4}
    return ClassifierConfig(reader=reader, classes=3, **(given | changes))


def model(reader="sampler", **changes):
    torch.manual_seed(0)
    return ZoomClassifier(config(reader, **changes))


def batch(count=3, h=64, w=48, channels=2):
    image = torch.rand(count, channels, h, w, generator=draw())
    return {
        "image": image,
        "label": torch.arange(count) % 3,
        "index": torch.arange(count),
        "box": BOX[:count],
    }


def disturbed(net):
    """The network with a last layer of its reader that no longer starts at zero."""
    with torch.no_grad():
        for name, p in net.reader.named_parameters():
            if "last" in name:
                p.add_(0.3 * torch.randn(p.shape, generator=draw(1)))
    return net


# ---------------------------------------------------------------- where it starts


@pytest.mark.parametrize("reader", ["uniform", *LEARNED])
def test_all_that_learn_start_as_uniform_reading(reader):
    x = batch()["image"]
    averages = model(reader).reader.read(x)
    points = model(reader, prefilter=1).reader.read(x)
    assert torch.allclose(averages.image, F.avg_pool2d(x, 4), atol=1e-5)
    still = zoom.positions(torch.ones(3, 5, 5), SIZE, 2.0)
    assert torch.allclose(averages.at, still, atol=1e-6)
    assert torch.allclose(points.image, zoom.warp(x, still), atol=1e-5)
    assert (averages.image - points.image).abs().max() > 0.1


@pytest.mark.parametrize("reader", LEARNED)
@pytest.mark.parametrize("prefilter", [None, 1])
def test_the_loss_reaches_every_weight_of_a_reader(reader, prefilter):
    net = disturbed(model(reader, prefilter=prefilter)).train()
    net.loss(batch()).total.backward()
    for name, p in net.reader.named_parameters():
        if name != "saliency.last.bias":  # a softmax does not see it
            assert p.grad.isfinite().all() and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("reader", zoom_classifier.KINDS)
def test_an_image_is_read_alike_in_every_batch(reader):
    net, given = disturbed(model(reader)).eval(), batch()
    whole = net.predict(given["image"], batch=given)
    order = torch.tensor([2, 0])
    some = {k: v[order] for k, v in given.items()}
    part = net.predict(some["image"], batch=some)
    assert torch.allclose(part.at, whole.at[order], atol=1e-5)
    assert torch.allclose(part.probabilities, whole.probabilities[order], atol=1e-5)
    assert whole.at.shape == (3, *SIZE, 2)
    assert (whole.saliency is None) == (reader in ("uniform", "affine", "tps", "grid"))


@pytest.mark.parametrize("layers", [6, 10, 14])
@pytest.mark.parametrize("reader", LEARNED)
def test_every_trunk_fits_every_reader(reader, layers):
    net = model(reader, channels=3, layers=layers, size=(32, 32))
    assert net.loss(batch(channels=3)).total.isfinite()


# ---------------------------------------------------------------- what they compute


def test_affine_is_the_transformer_of_torch():
    net = disturbed(model("affine"))
    small = net.reader.small(batch()["image"])
    theta = net.reader.numbers(small).unflatten(1, (2, 3)) + torch.eye(2, 3)
    there = F.affine_grid(theta, (3, 2, *SIZE), align_corners=False)
    _, at = net.reader.places(small, {})
    assert torch.allclose(at, there, atol=1e-5) and (at - at[:, :1]).abs().max() > 0.1


def test_a_plate_goes_through_its_controls_and_keeps_what_is_linear():
    controls = readers.lattice((4, 4)).flatten(0, 1)
    values = torch.randn(16, 2, generator=draw(), dtype=torch.float64)
    assert torch.allclose(readers.thin_plate(controls, controls) @ values, values)
    points = 2 * torch.rand(50, 2, generator=draw(1), dtype=torch.float64) - 1
    plate = readers.thin_plate(points, controls)
    A = torch.tensor([[0.3, -2.0], [1.0, 0.4]], dtype=torch.float64)
    assert torch.allclose(plate @ (controls @ A + 0.7), points @ A + 0.7)


def test_a_plate_bends_least():
    """Its bending energy is below that of any other function through the points."""
    grid = readers.lattice((40, 40))
    controls = grid[5::10, 5::10].flatten(0, 1)
    value = torch.randn(16, generator=draw(2), dtype=torch.float64)
    plate = (readers.thin_plate(grid.flatten(0, 1), controls) @ value).view(40, 40)

    def energy(f):
        xx, yy = f.diff(n=2, dim=1)[1:-1], f.diff(n=2, dim=0)[:, 1:-1]
        xy = (f[2:, 2:] - f[2:, :-2] - f[:-2, 2:] + f[:-2, :-2]) / 4
        return (xx.square() + 2 * xy.square() + yy.square()).sum()

    bump = torch.sin(torch.arange(40) * math.pi / 10)
    zero = torch.ones(40).double()
    zero[5::10] = 0  # the controls' rows: no change there
    other = plate + 0.05 * (bump.double() * zero)[:, None] * zero
    assert torch.allclose(other[5::10, 5::10], plate[5::10, 5::10])
    assert energy(plate) < energy(other)


def test_the_grid_estimator_adds_what_it_gives():
    net = model("grid")
    with torch.no_grad():
        net.reader.last.bias.copy_(torch.tensor([0.1, -0.2]))
    at = net.reader.read(batch()["image"]).at
    even = readers.even(SIZE, at)
    assert torch.allclose(at - even, torch.tensor([0.1, -0.2]).expand_as(at), atol=1e-6)


def test_told_maps_lie_where_they_are_told():
    given, n = batch(), 31
    centres = torch.stack(
        torch.meshgrid(*[glimpse.pixel_centres(n)] * 2, indexing="xy")
    )
    for where in ("oracle", "random", "centre"):
        reader = readers.Told(where, readers.Config(SIZE, cells=n), blob=0.05)
        S = reader.read(given["image"], given).saliency
        top = centres.flatten(1)[:, S.flatten(1).argmax(dim=1)].T  # (B, 2)
        told = reader.middle(3, given)[:, 0]
        assert (top - told).abs().max() < 1.01 / n, where
        assert torch.allclose(S.sum(dim=(1, 2)), torch.ones(3))
    assert torch.allclose(told, torch.zeros(3, 2))
    with pytest.raises(ValueError, match="box"):
        readers.Told("oracle", readers.Config(SIZE)).read(given["image"])
    with pytest.raises(ValueError, match="where"):
        readers.Told("left", readers.Config(SIZE))


def test_an_oracle_is_told_several_boxes():
    boxes = torch.tensor([[[-0.6, -0.6, -0.4, -0.4], [0.4, 0.2, 0.6, 0.4]]])
    config = readers.Config(SIZE, cells=40)
    reader = readers.Told("oracle", config, blob=0.05, box="eyes")
    S = reader.places(batch()["image"][:1], {"eyes": boxes})[0][0]
    for x, y in ((-0.5, -0.5), (0.5, 0.3)):
        at = [int((v + 1) / 2 * 40) for v in (y, x)]
        near = S[at[0] - 6 : at[0] + 6, at[1] - 6 : at[1] + 6]
        assert near.max() == pytest.approx(float(S.max()), rel=0.02)
        assert near.sum() > 0.3  # of 0.09 if the map were even
    with pytest.raises(ValueError, match="eyes"):
        reader.read(batch()["image"])


def test_random_maps_are_a_function_of_the_index_and_everywhere():
    reader = readers.Told("random", readers.Config(SIZE))
    places = reader.middle(2000, {"index": torch.arange(2000)})[:, 0]
    again = reader.middle(3, {"index": torch.tensor([7, 0, 1999])})[:, 0]
    assert torch.equal(again, places[[7, 0, 1999]])
    assert places.mean(dim=0).abs().max() < 0.05 and places.abs().max() > 0.99


# ---------------------------------------------------------------- settings of the map


def test_temperature_divides_logits():
    hot, cold = (disturbed(model(temperature=t)).eval() for t in (1.0, 0.1))
    small = hot.reader.small(batch()["image"])
    S, sharp = hot.reader.salient(small), cold.reader.salient(small)
    power = S.double() ** 10
    expected = power / power.sum(dim=(1, 2), keepdim=True)
    assert torch.allclose(sharp.double(), expected, atol=1e-4)


def test_rounds_bring_the_density_nearer_to_the_map():
    plain, balanced = (model(rounds=r, cells=31, size=(96, 96)) for r in (0, 20))
    told = readers.Told("oracle", plain.config, blob=0.1)
    S = told.read(batch(1)["image"], batch(1)).saliency
    off = []
    for net in (plain, balanced):
        at = net.reader.pulled(S)
        density = zoom_measures.pixels_inside(at, BOX[:1])
        off.append(float(zoom_measures.mass_inside(S, BOX[:1]) - density))
    assert 0 <= abs(off[1]) < abs(off[0]) / 2


def test_a_ratio_slows_the_reader_only():
    given = batch()
    moved = {}
    for ratio in ((1.0, 1.0), (0.0625, 0.25)):
        net = disturbed(model(ratio=ratio))
        before = {k: p.detach().clone() for k, p in net.named_parameters()}
        schedule = train.Schedule(1, 3, rate=1e-3, warmup=0.0, weight_decay=0.0)
        fit = lambda m: {"accuracy": 0.0}  # noqa: E731
        train.fit(net, lambda step: given, fit, schedule, 0, progress=False)
        moved[ratio] = {k: p - before[k] for k, p in net.named_parameters()}
    one, slow = moved.values()
    for name in one:
        factor = {"t": 1.0}.get(name[0], 0.25 if ".last." in name else 0.0625)
        if name != "reader.saliency.last.bias":
            assert torch.allclose(slow[name], factor * one[name], atol=2e-6), name
    held = [id(p) for g in net.rates() for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


def test_deformable_layers_are_the_last_ones_and_start_plain():
    net, given = model("uniform", deformable=3), batch()
    kinds = [type(m).__name__ for m in net.task.body if "onv" in type(m).__name__]
    assert kinds == ["Conv2d", "DeformConv2d", "DeformConv2d", "DeformConv2d"]
    net.train().loss(given).total.backward()
    assert net.task.body[-3].offset.weight.grad.abs().sum() > 0


def test_a_second_task_network_and_the_table_of_models():
    made = config("uniform", task="residual")
    net = MODELS[type(made)](made).to(memory_format=torch.channels_last)
    assert net.predict(batch()["image"]).probabilities.shape == (3, 3)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"reader": "stn"}, "reader must be one of sampler"),
        ({"task": "vgg"}, "task must be one of"),
        ({"layers": 6}, "3 channels"),
        ({"deformable": 5}, "deformable"),
        ({"ratio": (1.0, 0.0)}, "ratio"),
        ({"temperature": 0.0}, "temperature"),
        ({"rounds": -1}, "rounds"),
        ({"padding": "zeros"}, "padding"),
        ({"blur": 1.5}, "shares"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(config(), **change)
    with pytest.raises(ValueError, match="2 points"):
        model("tps", points=1)


# ---------------------------------------------------------------- measures


def bent(seed=0):
    logits = torch.randn(2, 5, 5, generator=draw(seed), dtype=torch.float64)
    S = (2 * logits).flatten(1).softmax(dim=1).view_as(logits)
    return S, zoom.positions(S, (40, 30), 1.2, "replicate")


def test_uniform_reading_is_the_zero_of_all_measures():
    at = readers.even((16, 12), torch.zeros(2))
    S = torch.full((2, 5, 5), 1 / 25)
    box = torch.tensor([[-0.5, -0.5, 0.5, 0.5], [-1, -1, 1, 0]])
    found = zoom_measures.measures(readers.Reading(None, S, at), (64, 48), box)
    assert torch.allclose(found["zoom"], torch.ones(2), atol=1e-5)
    assert torch.allclose(found["covered"], torch.ones(2), atol=1e-6)
    assert torch.allclose(found["entropy"], torch.full((2,), math.log(25)))
    share = torch.tensor([0.25, 0.5])
    assert torch.allclose(found["mass_inside"], share, atol=1e-6)
    assert torch.allclose(found["pixels_inside"], share)
    bare = zoom_measures.measures(readers.Reading(None, None, at), (64, 48))
    assert sorted(bare) == ["covered", "zoom"]


def test_covered_is_the_area_inside_the_outline():
    S, at = bent()
    fine = 2 * torch.rand(1500, 2, generator=draw(4), dtype=torch.float64) - 1
    there = zoom_labels.to_output(S[:1], fine[None], 1.2, "replicate")[0]
    inside = ((there.abs() <= 1) & there.isfinite()).all(dim=-1)
    expected = float(inside.double().mean())
    assert 0.3 < expected < 0.95
    assert float(zoom_measures.covered(at)[0]) == pytest.approx(expected, abs=0.04)
    half = 0.5 * readers.even((8, 8), torch.zeros(1)) + 1  # a quarter of it in a corner
    assert float(zoom_measures.covered(half)) == pytest.approx(1 / 16)
    with pytest.raises(ValueError, match="outline"):
        zoom_measures.covered(half[:, :1])


def test_zoom_is_that_of_the_slopes():
    S, at = bent()
    slopes = zoom.jacobian(S, (40, 30), 1.2, "replicate")
    densest = zoom.density(slopes).flatten(1).amax(dim=1).sqrt()
    found = zoom_measures.zoom(at, (400, 300))
    assert torch.allclose(found, densest, rtol=0.03)
    still = torch.zeros(1, 4, 4, 2)
    assert zoom_measures.zoom(still, (64, 64)) == 16 / zoom_measures.TINY


def test_mass_and_pixels_inside_are_counts():
    S, at = bent()
    box = torch.tensor([[-0.37, -0.8, 0.15, 0.4], [0.0, 0.0, 0.9, 1.0]]).double()
    big = S.repeat_interleave(200, 1).repeat_interleave(200, 2) / 200**2
    p = readers.lattice((1000, 1000))
    for b in range(2):
        x0, y0, x1, y1 = box[b].tolist()
        inside = (p[..., 0] > x0) & (p[..., 0] < x1) & (p[..., 1] > y0)
        count = float(big[b][inside & (p[..., 1] < y1)].sum())
        assert float(zoom_measures.mass_inside(S, box)[b]) == pytest.approx(count, 5e-3)
        u, v = at[b].flatten(0, 1).T.tolist()
        hit = [x0 <= a <= x1 and y0 <= c <= y1 for a, c in zip(u, v, strict=True)]
        share = float(zoom_measures.pixels_inside(at, box)[b])
        assert share == pytest.approx(sum(hit) / len(hit))
