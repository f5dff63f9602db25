"""Scattered canvases: nothing overlaps, and a level is the mean of what it shrinks."""

import pytest
import torch
from test_digits import embedded
from torch.nn import functional as F

from saccade_lib.data.scattered import Scattered

INDEX = torch.tensor([5, 0, 12, 7])


def stream(**more):
    made = {"side": 120, "digit": 20, "clutter": 9, "seed": 3} | more
    return Scattered(embedded(), "single", made.pop("split", "train"), **made)


def test_a_canvas_is_a_function_of_seed_split_and_index():
    one, again = stream().batch(INDEX), stream().batch(INDEX.flip(0))
    alone = stream().batch(INDEX[2:3])
    for name, value in one.items():
        assert torch.equal(value, again[name].flip(0))
        assert torch.equal(value[2:3], alone[name])
    assert not torch.equal(one["image"], stream(seed=4).batch(INDEX)["image"])
    held_out = [stream(split="test", seed=s).batch(INDEX) for s in (3, 4)]
    assert torch.equal(held_out[0]["image"], held_out[1]["image"])
    assert not torch.equal(one["image"], held_out[0]["image"])


@pytest.mark.parametrize(
    "side, digit, level", [(120, 20, 2), (126, 21, 3), (96, 16, 8)]
)
def test_a_level_is_the_mean_of_the_pixels_of_the_whole_canvas(side, digit, level):
    size = {"side": side, "digit": digit, "clutter": 7}
    index = torch.arange(24)
    whole = stream(**size).batch(index)["image"]
    small = stream(**size, level=level).batch(index)
    torch.testing.assert_close(
        small["image"], F.avg_pool2d(whole, level), atol=1e-6, rtol=0
    )
    assert torch.equal(small["label"], stream(**size).batch(index)["label"])


def test_parts_never_overlap_and_stay_inside():
    made = stream()
    covered = torch.zeros(40, 120, 120)
    for patches, corner in made.layout(torch.arange(40)).parts:
        p = patches.shape[-1]
        for b, of_image in enumerate(corner.tolist()):
            for x, y in of_image:
                assert min(x, y) >= 0 and max(x, y) + p <= 120
                covered[b, y : y + p, x : x + p] += 1
    assert covered.max() == 1


def test_the_digit_is_where_and_what_the_truth_says():
    made = stream(clutter=0)
    found = made.batch(INDEX)
    for b in range(len(INDEX)):
        ink = found["image"][b, 0] > 0.3
        for axis in (0, 1):  # x, y
            at = ink.any(dim=axis).nonzero()[:, 0]
            middle = float(at.min() + at.max() + 1) / 120 - 1
            assert abs(middle - float(found["centre"][b, 0, axis])) < 10 / 60
    assert made.hits(found["centre"], found).all()
    assert not made.hits(found["centre"] + 0.5, found).any()


def test_digits_of_every_place_and_class_come():
    found = stream().batch(torch.arange(2_000))
    assert found["label"].unique().tolist() == list(range(10))
    thirds = ((found["centre"][:, 0] + 1) * 1.5).long()  # (B, 2)
    counts = (thirds[:, 0] * 3 + thirds[:, 1]).bincount(minlength=9)
    assert (counts > 100).all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"level": 7}, "level must divide"),
        ({"level": 0}, "level must divide"),
        ({"clutter": 16}, "use less clutter or smaller digits"),
        ({"enlarge": 240}, "not enlarged"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        stream(**wrong)
