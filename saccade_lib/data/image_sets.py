"""Small images in memory, cut into the parts that a designer's pipeline needs.

A network that judges completions must not have been trained on them. So training images
come in two *folds*: the network is trained on one, completions come from the other, and
the other way round (cross-fitting). Validation and test images are in neither.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.data import birds, digits, door
from saccade_lib.data.digits import SPLITS, uniforms

STREAM = 410  # of random numbers
HALF = 0.5  # share of annotators from which a species has an attribute


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N labelled images of one split.

    Attributes:
        image: ``(N, C, H, W)`` uint8.
        label: ``(N,)``.
        id: ``(N,)``, of the picture they were made of; no two splits share one.
        fold: ``(N,)``, 0 or 1 in training; -1 elsewhere.
        classes: number of labels.
        attributes: ``(N, A)``, 0 or 1, of the species; A may be 0.
        parts: ``(N, P, 2)``, x and y in [-1, 1]; P may be 0.
        visible: ``(N, P)`` bool.
        part_names: P names.
    """

    image: Tensor
    label: Tensor
    id: Tensor
    fold: Tensor
    classes: int
    attributes: Tensor
    parts: Tensor
    visible: Tensor
    part_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: Tensor) -> "ImageSet":
        """The images at these positions, or those of a mask."""
        whole = ("classes", "part_names")
        some = {k: v[index] for k, v in vars(self).items() if k not in whole}
        return replace(self, **some)

    def of_fold(self, number: int) -> "ImageSet":
        if number not in (0, 1):
            raise ValueError(f"a fold is 0 or 1, got {number}")
        return self.take(self.fold == number)

    def pixels(self) -> Tensor:
        """``(N, C, H, W)`` in [0, 1]."""
        return self.image.float() / 255


def of_digits(pack: door.Pack, split: str) -> ImageSet:
    """Handwritten digits, 28 x 28; ids count through the training and the test digits.

    Training digits belong to the folds in turn.
    """
    check(split)
    image, label = map(torch.from_numpy, digits.of_split(pack, split))
    N, trained = len(label), len(pack.train_images)
    first = {"train": 0, "validation": trained - N, "test": trained}[split]
    count = torch.arange(N)
    return ImageSet(
        image[:, None],
        label,
        first + count,
        count % 2 if split == "train" else torch.full((N,), -1),
        10,
        torch.zeros(N, 0),
        torch.zeros(N, 0, 2),
        torch.zeros(N, 0, dtype=torch.bool),
    )


def of_birds(found: birds.Birds, split: str, side: int) -> ImageSet:
    """Crops of birds, ``(N, 3, side, side)``, with parts and attributes."""
    part = found.of(split, side)
    has = torch.from_numpy(found.of_species >= HALF).float()  # (K, A)
    label = torch.from_numpy(part.labels)
    return ImageSet(
        torch.from_numpy(part.images),
        label,
        torch.from_numpy(part.ids),
        torch.from_numpy(part.fold),
        len(found.species),
        has[label],
        torch.from_numpy(part.places),
        torch.from_numpy(part.visible),
        found.parts,
    )


def check(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {SPLITS}")


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches of a set by random access: the same index, the same images.

    Attributes:
        images: what to draw from.
        split: in training images are drawn at random, mirrored and shifted where asked
            for; in validation and test index k is image k modulo their number.
        places: L and T; every image comes with T places, drawn uniformly from L.
        flip: mirror half of the training images.
        shift: largest shift of a training image along each axis, pixels; the pixels at
            the border are repeated.
        seed: of training; validation and test use 0 whatever the seed.
    """

    images: ImageSet
    split: str
    places: tuple[int, int]
    flip: bool = False
    shift: int = 0
    seed: int = 0

    def __post_init__(self):
        check(self.split)
        if not len(self.images):
            raise ValueError(f"no image of the {self.split} split to draw from")

    @property
    def classes(self) -> int:
        return self.images.classes

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, C, H, W)`` in [0, 1], ``label (B,)``, ``places (B, T)``; and
        ``attributes (B, A)`` where there are any."""
        L, T = self.places
        training = self.split == "train"
        stream = STREAM + SPLITS.index(self.split)
        u = uniforms(self.seed if training else 0, stream, index, 4 + T)
        N = len(self.images)
        some = self.images.take((u[:, 0] * N).long() if training else index % N)
        image = some.image.to(device)
        if training:
            image = varied(image, u[:, 1:4], self.flip, self.shift)
        batch = {
            "image": image.float() / 255,
            "label": some.label.to(device),
            "places": (u[:, 4:] * L).long().to(device),
        }
        if some.attributes.shape[1]:
            batch["attributes"] = some.attributes.to(device)
        return batch


def varied(image: Tensor, u: Tensor, flip: bool, shift: int) -> Tensor:
    """Images ``(B, C, H, W)``, mirrored and shifted as the numbers u ``(B, 3)`` say."""
    u = u.to(image.device)
    if flip:
        image = torch.where((u[:, 0] < 0.5)[:, None, None, None], image.flip(3), image)
    if not shift:
        return image
    H, W = image.shape[2:]
    padded = F.pad(image.float(), (shift,) * 4, "replicate").to(image.dtype)
    windows = padded.unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2 shift + 1, ., H, W)
    down, right = (u[:, 1:] * (2 * shift + 1)).long().T
    return windows[torch.arange(len(image), device=u.device), :, down, right]
