"""ResNet-18 over crops is the sum over its tiles, computed once or twice."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from saccade_lib import cost
from saccade_lib.models import baselines
from saccade_lib.models.baselines import (
    Config,
    CropsConfig,
    FullImage,
    OverCrops,
    tiles,
    unmoved_statistics,
)
from saccade_lib.train import Schedule, fit

SMALL = CropsConfig(classes=5, width=4, hidden=8, crop=32, segment=2)


def model_of(config=SMALL, dtype=torch.float64, **changes):
    torch.manual_seed(0)
    return OverCrops(replace(config, **changes)).to(dtype)


def batch_of(side=80, count=3, dtype=torch.float64):
    draw = torch.Generator().manual_seed(side)
    image = torch.rand(count, 1, side, side, generator=draw, dtype=dtype)
    return {"image": image, "label": torch.randint(5, (count,), generator=draw)}


def step(model, batch):
    """Loss, gradients and buffers after one training step's two passes."""
    model.train()
    loss = model.loss(batch).total
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return loss.detach(), gradients, dict(model.named_buffers())


def test_the_paper_s_tiles():
    corners = tiles(2528, 2528, 224)
    assert len(corners) == 144
    line = sorted({left for left, _ in corners})
    assert line == [k * 224 for k in range(11)] + [2528 - 224]
    assert line[10] + 224 - line[11] == 160  # the last overlaps its neighbour
    assert corners[:2] == [(0, 0), (224, 0)] and corners[-1] == (2304, 2304)


@pytest.mark.parametrize(
    "height, width, crop", [(7, 7, 7), (8, 7, 7), (20, 33, 7), (448, 224, 224)]
)
def test_tiles_cover_every_pixel_and_stay_inside(height, width, crop):
    seen = torch.zeros(height, width)
    for left, top in tiles(height, width, crop):
        assert 0 <= left <= width - crop and 0 <= top <= height - crop
        seen[top : top + crop, left : left + crop] += 1
    assert seen.min() == 1
    assert len(tiles(height, width, crop)) == -(-height // crop) * -(-width // crop)


def test_an_image_without_room_for_a_crop_has_no_tiles():
    with pytest.raises(ValueError, match="6 pixels holds no crop of 7"):
        tiles(7, 6, 7)


@pytest.mark.parametrize("classes", [6, 19, 55])
def test_parameters_are_those_of_the_released_baseline(classes):
    with torch.device("meta"):
        model = OverCrops(CropsConfig(classes))
    assert cost.parameters(model) == 11_374_656 + 257 * classes


def test_the_sum_over_crops_is_the_paper_s_formula():
    model, x = model_of().eval(), batch_of()["image"]
    total = 0
    for left, top in tiles(80, 80, 32):
        crop = x[:, :, top : top + 32, left : left + 32].expand(-1, 3, -1, -1)
        total = total + model.body(crop)
    assert torch.allclose(model(x), model.dense(total))


def test_one_crop_is_the_full_image():
    over, batch = model_of(), batch_of(side=32)
    full = FullImage(Config(classes=5, width=4, hidden=8)).double()
    full.load_state_dict(over.state_dict())
    assert torch.equal(over.eval()(batch["image"]), full.eval()(batch["image"]))


def test_a_smaller_image_is_enlarged_to_a_crop_as_in_the_released_code():
    over, batch = model_of(), batch_of(side=20)
    full = FullImage(Config(classes=5, width=4, hidden=8, resize=32)).double()
    full.load_state_dict(over.state_dict())
    assert torch.equal(over.eval()(batch["image"]), full.eval()(batch["image"]))


@pytest.mark.parametrize("segment", [1, 2, 4, None])
def test_checkpointing_changes_no_value_gradient_or_statistic(segment):
    """80 pixels make nine tiles of 32: segments of two and four leave a last one."""
    naive = model_of(segment=segment)
    again = model_of(segment=segment, checkpoint=True)
    batch = batch_of()
    loss, gradients, buffers = step(naive, batch)
    loss_2, gradients_2, buffers_2 = step(again, batch)
    assert torch.equal(loss, loss_2)
    for name in gradients:
        assert torch.allclose(gradients[name], gradients_2[name], rtol=1e-9), name
    segments = -(-9 // (segment or 9))
    for name in buffers:
        assert torch.equal(buffers[name], buffers_2[name]), name
        if name.startswith("body") and name.endswith("num_batches_tracked"):
            assert int(buffers[name]) == segments
    assert all(m.momentum == 0.1 for m in again.body.modules() if hasattr(m, "eps"))


def test_without_the_guard_the_statistics_count_twice(monkeypatch):
    """The fault that the guard is there for: it is real."""
    batch = batch_of()
    guarded = step(model_of(checkpoint=True), batch)[2]
    monkeypatch.setattr(baselines, "unmoved_statistics", lambda net: nullcontext())
    twice = step(model_of(checkpoint=True), batch)[2]
    name = "body.bn1.running_mean"
    assert not torch.allclose(guarded[name], twice[name])


def test_the_guard_puts_back_what_an_error_interrupts():
    model = model_of()
    with pytest.raises(KeyError), unmoved_statistics(model.body):
        assert model.body.bn1.momentum == 0
        raise KeyError
    assert model.body.bn1.momentum == 0.1


def test_segments_matter_to_training_and_not_to_prediction():
    """Batch normalisation sees one segment at a time."""
    batch = batch_of()
    one, all_crops = model_of(segment=1), model_of(segment=None)
    assert torch.allclose(one.eval()(batch["image"]), all_crops.eval()(batch["image"]))
    losses = [model.train().loss(batch).total for model in (one, all_crops)]
    assert not torch.allclose(*losses)


def test_what_checkpointing_keeps_grows_with_the_image_alone():
    """Naive keeps activations of every crop; one-crop segments keep the image."""

    def kept(side, **changes):
        model, batch = model_of(**changes), batch_of(side, 2)
        return cost.saved_activations(lambda: model.loss(batch), model)

    naive = [kept(side, segment=1) for side in (64, 128)]
    again = [kept(side, segment=1, checkpoint=True) for side in (64, 128)]
    assert 3.8 < naive[1] / naive[0] < 4.2  # four times the crops
    image = 2 * (128**2 - 64**2) * 8  # bytes
    assert image <= again[1] - again[0] < 1.01 * image
    assert again[1] < 1.01 * 2 * 128**2 * 8


def test_it_trains_and_predicts():
    model = model_of(dtype=torch.float32, checkpoint=True)
    batch = batch_of(count=8, dtype=torch.float32)
    schedule = Schedule(steps=12, batch=8, rate=1e-2, validate_every=6)
    done = fit(
        model, lambda k: batch, lambda m: {"accuracy": 0.0}, schedule, 0, progress=False
    )
    assert done.curves["class"][-1] < done.curves["class"][0]
    seen = model.predict(batch["image"])
    assert seen.probabilities.shape == (8, 5)
    assert torch.allclose(seen.probabilities.sum(dim=1), torch.ones(8))
