"""Turned digits are what their index says; transformers start as the plain networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_digits import blocks, embedded

from saccade_lib.data import rotated
from saccade_lib.data.rotated import Rotated
from saccade_lib.models.spatial_transformers import Config, SpatialTransformer
from saccade_lib.runs import find, on_rotated, spatial_transformers
from saccade_lib.runs.experiment import build, train
from saccade_lib.train import Schedule

INDEX = torch.arange(200)
LEARNED = ("affine", "thin-plate")


def test_an_image_does_not_depend_on_its_batch_or_order():
    stream = Rotated(embedded(), seed=3)
    whole = stream.batch(INDEX)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    again = stream.batch(order)
    for name in whole:
        assert torch.equal(whole[name][order], again[name]), name
    assert torch.equal(stream.batch(INDEX[7:8])["image"], whole["image"][7:8])


def test_angles_are_uniform_and_bounded():
    angle = Rotated(embedded(), turn=40).batch(torch.arange(4_000))["angle"]
    assert angle.abs().max() <= 40
    found = np.histogram(angle.numpy(), bins=8, range=(-40, 40))[0]
    assert abs(found - 500).max() < 4.5 * 500**0.5  # 4.5 standard deviations


def test_seeds_differ_in_training_alone():
    one, two = (Rotated(embedded(), seed=s).batch(INDEX) for s in (0, 1))
    assert not torch.equal(one["angle"], two["angle"])
    one, two = (Rotated(embedded(), "test", s).batch(INDEX) for s in (0, 1))
    assert torch.equal(one["image"], two["image"])


def test_splits_never_mix():
    for split, value in zip(
        ("train", "validation", "test"), (60, 120, 180), strict=True
    ):
        batch = Rotated(blocks(), split, turn=0).batch(INDEX)
        assert (batch["image"] * 255).round().unique().tolist() == [value]


def test_a_quarter_turn_moves_pixels_whole():
    image = torch.rand(2, 1, 28, 28)
    for quarters in (-1, 0, 1, 2):
        found = rotated.turned(image, torch.full((2,), 90.0 * quarters))
        expected = torch.rot90(image, quarters, (2, 3))  # counter-clockwise
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_turn_is_undone_by_a_told_grid():
    batch = Rotated(embedded(), "test").batch(INDEX)
    upright = Rotated(embedded(), "test", turn=0).batch(INDEX)["image"]
    model = SpatialTransformer(Config(transform="told"))
    seen = model.read(batch["image"], batch)
    torch.testing.assert_close(rotated.angle_of(seen.at), batch["angle"])
    # Two bilinear readings blur; they do not move.
    away = (seen.image - upright).square().mean()
    assert away < 0.2 * (batch["image"] - upright).square().mean()
    with pytest.raises(ValueError, match='batch\\["angle"\\]'):
        model.read(batch["image"])


@pytest.mark.parametrize("angle", [-170.0, -45.0, 0.0, 30.0, 179.0])
def test_the_angle_of_a_turned_shifted_and_stretched_grid_is_found(angle):
    at = rotated.places((28, 28), torch.tensor([angle]))
    found = rotated.angle_of(0.6 * at + 0.3)
    torch.testing.assert_close(found, torch.tensor([angle]), atol=1e-3, rtol=0)


def test_a_spread_counts_distances_within_a_class_around_the_circle():
    label = torch.tensor([0, 0, 1, 1])
    angle = torch.tensor([170.0, -170.0, 5.0, 5.0])  # 20 apart, and equal
    assert on_rotated.spread(angle, label) == pytest.approx((2 * 10**2 / 4) ** 0.5)
    uniform = torch.linspace(-90, 90, 10_001)
    spread = on_rotated.spread(uniform, torch.zeros(10_001))
    assert spread == pytest.approx(90 / 3**0.5, rel=1e-3)


@pytest.mark.parametrize("network", ["cnn", "fcn"])
@pytest.mark.parametrize("transform", LEARNED)
def test_a_transformer_starts_as_the_plain_network_and_can_leave_it(network, transform):
    batch = Rotated(embedded()).batch(INDEX[:16])
    plain = SpatialTransformer(Config(network))
    model = SpatialTransformer(Config(network, transform))
    model.task.load_state_dict(plain.task.state_dict())
    found, expected = (m.predict(batch["image"]) for m in (model, plain))
    torch.testing.assert_close(found.probabilities, expected.probabilities)
    model.loss(batch).total.backward()
    slopes = [p.grad.abs().max() for p in model.reader.last[-1].parameters()]
    assert min(slopes) > 0


def test_bad_input_is_named():
    for change, message in [
        ({"split": "all"}, "unknown split 'all'"),
        ({"seed": -1}, "seed must not be negative"),
        ({"turn": 200}, "from 0 to 180 degrees, got 200"),
    ]:
        with pytest.raises(ValueError, match=message):
            Rotated(embedded(), **change)
    with pytest.raises(ValueError, match="network must be one of"):
        Config("rnn")
    with pytest.raises(ValueError, match="transform must be one of"):
        Config(transform="projective")


def test_rows_differ_in_their_model_alone_and_training_measures_turns():
    rows = [row["standard"] for row in spatial_transformers.ROWS.values()]
    assert len({(row.schedule, row.turn, row.test) for row in rows}) == 1
    run = find("spatial-transformers", "st-cnn-affine-rotated--quick--0").experiment
    tiny = replace(run, schedule=Schedule(2, 8, validate_every=2), test=40)
    found = train(tiny, 0, progress=False, pack=embedded())
    names = {"accuracy", "error", "spread_before", "spread_after"}
    assert set(found.metrics) == {f"test_{name}" for name in names}
    assert found.metrics["test_spread_after"]["unit"] == "deg"
    one, two = (build(run, 0).state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)
