"""Image sets: folds and splits that never mix, batches that follow from an index."""

import numpy as np
import pytest
import torch
from test_digits import embedded

from saccade_lib.data import birds, image_sets
from saccade_lib.data.image_sets import Stream


@pytest.fixture(scope="module")
def pack():
    return embedded()


@pytest.fixture(scope="module")
def digits(pack):
    return {split: image_sets.of_digits(pack, split) for split in image_sets.SPLITS}


def test_no_picture_is_in_two_splits(digits, pack):
    ids = torch.cat([part.id for part in digits.values()])
    assert len(ids.unique()) == len(ids) == sum(len(part) for part in digits.values())
    images = np.concatenate([pack.train_images, pack.test_images])
    for part in digits.values():
        assert np.array_equal(part.image[:, 0].numpy(), images[part.id])


def test_folds_part_the_training_images_only(digits):
    train = digits["train"]
    zero, one = train.of_fold(0), train.of_fold(1)
    assert not set(zero.id.tolist()) & set(one.id.tolist())
    assert len(zero) + len(one) == len(train)
    assert set(digits["test"].fold.tolist()) == {-1}
    with pytest.raises(ValueError, match="a fold is 0 or 1, got 2"):
        train.of_fold(2)


def test_drawn_birds_bring_their_parts_and_attributes():
    found = birds.drawn()
    some = image_sets.of_birds(found, "validation", 16)
    assert some.image.shape == (len(some), 3, 16, 16)
    assert some.parts.shape == (len(some), 15, 2) and len(some.part_names) == 15
    assert some.attributes.shape == (len(some), 8)
    assert torch.equal(some.attributes.sum(dim=1), torch.full((len(some),), 4.0))


@pytest.mark.parametrize("split", image_sets.SPLITS)
def test_a_batch_is_a_function_of_its_index(digits, split):
    stream = Stream(digits[split], split, (36, 5), flip=True, shift=2, seed=3)
    whole = stream.batch(torch.arange(8))
    order = torch.tensor([5, 0, 3])
    some = stream.batch(order)
    for name, value in whole.items():
        assert torch.equal(value[order], some[name])
    assert whole["places"].shape == (8, 5) and whole["places"].max() < 36
    again = Stream(digits[split], split, (36, 5), flip=True, shift=2, seed=4)
    same = torch.equal(again.batch(order)["image"], some["image"])
    assert same is (split != "train")


def test_shifts_and_mirrors_are_those_of_the_numbers(digits):
    image = digits["train"].image[:1]
    u = torch.tensor([[0.9, 0.0, 0.99]])  # as it is, up by 2, right by 2 of its border
    moved = image_sets.varied(image, u, True, 2)
    assert torch.equal(moved[0, 0, 2:, :-2], image[0, 0, :-2, 2:])
    mirrored = image_sets.varied(image, torch.tensor([[0.1, 0.5, 0.5]]), True, 2)
    assert torch.equal(mirrored, image.flip(3))


def test_bad_input_is_explained(digits):
    with pytest.raises(ValueError, match="unknown split 'all'"):
        image_sets.of_digits(embedded(), "all")
    nothing = digits["train"].take(torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="no image of the train split"):
        Stream(nothing, "train", (36, 5))
