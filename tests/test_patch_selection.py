"""Iterative patch selection: the best of all windows, whatever is read together."""

from dataclasses import replace

import pytest
import torch

from saccade_lib import cost
from saccade_lib.models.patch_selection import Config, PatchSelection

SMALL = Config(3, size=8, scale=0.25, kept=3, chunk=5, features=8, width=4, heads=1)
N = 16


def made(config=SMALL):
    torch.manual_seed(0)
    model = PatchSelection(config)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # as after some training
            torch.nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(norm.running_var, 0.1, 0.5)
    return model


def batch(side=32):
    x = torch.rand(4, 1, side, side, generator=torch.Generator().manual_seed(2))
    return {"image": x, "label": torch.arange(4) % 3}


def everything(model, x):
    """Features of all windows ``(B, N, F)``, read at once in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model.embed(x, torch.arange(len(model.places)).expand(len(x), -1))[0]


@pytest.mark.parametrize("chunk", [1, 4, 5, 16, 100])
def test_with_one_head_the_kept_are_the_best_of_all(chunk):
    model, x = made(replace(SMALL, chunk=chunk)), batch()["image"]
    chosen, features = model.select(x)
    f = everything(model, x)
    best = model.pool.attention(f)[:, 0].topk(3, dim=1).indices  # (B, M)
    assert torch.equal(chosen.sort(dim=1).values, best.sort(dim=1).values)
    wanted = f.gather(1, chosen[..., None].expand(-1, -1, 8))
    torch.testing.assert_close(features, wanted)


def test_prediction_is_that_of_the_kept_windows_read_again():
    model, x = made().eval(), batch()["image"]
    seen = model.predict(x)
    chosen, _ = model.select(x)
    with torch.no_grad():
        f, o = model.embed(x, chosen)
        again = model.classify(model.pool(f)).softmax(dim=1)
    torch.testing.assert_close(seen.probabilities, again)
    torch.testing.assert_close(seen.crops, o)
    assert torch.equal(seen.location, model.places[chosen])


def test_memory_does_not_grow_with_the_number_of_windows():
    def peaks(scale):
        model = made(replace(SMALL, scale=scale, chunk=4))
        x = {"image": torch.rand(2, 1, 64, 64), "label": torch.arange(2)}
        kept = cost.saved_activations(lambda: model.loss(x), model)
        return kept, cost.peak_tensors(lambda: model.predict(x["image"]))

    few, many = peaks(0.25), peaks(0.125)  # 16 and 64 windows
    assert many[0] == few[0]
    assert many[1] < 1.05 * few[1]


def test_windows_cover_the_image():
    model = made(replace(SMALL, scale=0.3))
    at, s = model.places, model.config.scale
    line = torch.linspace(-1, 1, 201)
    points = torch.cartesian_prod(line, line)
    away = (points[:, None] - at).abs().amax(dim=2)  # (P, N)
    assert (away.amin(dim=1) <= s + 1e-6).all()
    assert (at.abs() + s <= 1 + 1e-6).all()


def test_everything_learns_and_selection_leaves_statistics_alone():
    model = made().train()
    norm = model.read.net[2]
    before = norm.running_mean.clone()
    model.select(batch()["image"])
    assert torch.equal(norm.running_mean, before) and model.training
    model.loss(batch()).total.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
    assert model.pool.query.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"kept": N + 1}, "cannot be kept"),
        ({"chunk": 0}, "chunk must be 1"),
        ({"heads": 3}, "multiple of heads"),
        ({"scale": 2.0}, "scale must be"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **wrong)
