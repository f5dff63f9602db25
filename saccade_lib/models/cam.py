"""Class activation maps: the network's own evidence says what to enlarge.

Zhou et al. (2016): behind the last convolutions a class's score is a linear function of
what each place's features contribute, so weighing the features by that class's weights
gives a map M over places. Recasens et al. (2018, Table 2) cut the image to the box
where M of the top class is large, enlarge the cut, and classify it by the same network.

The box holds the places with M above a share of its largest value that hang together
with that value's place. A network that never saw a cut answers badly from one, so here
it learns from whole images first and, in the rest of the training, from both.

Letters: B images, C channels, H x W pixels of what is read, h x w places of M.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.models.readers import Reading, even
from saccade_lib.models.zoom_classifier import ClassifierConfig, ZoomClassifier
from saccade_lib.train import Loss, evaluating

LEAST = 0.2  # smallest side of a box, over the image's


@dataclass(frozen=True, kw_only=True)
class CamConfig(ClassifierConfig):
    """`ClassifierConfig` of the network that looks and answers.

    Attributes:
        above: share of M's largest value that the box's places exceed; 0.2 in Zhou et
            al. (2016).
        whole: share of the training that sees whole images only.
    """

    reader: str = "uniform"
    above: float = 0.2
    whole: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if self.reader != "uniform" or self.task != "blocks":
            raise ValueError("maps are read off 'blocks' behind uniform reading")
        if not 0 < self.above < 1 or not 0 <= self.whole <= 1:
            raise ValueError(
                f"above and whole are shares, got {self.above} and {self.whole}"
            )


class Cam(ZoomClassifier):
    """One network, two looks: the whole image, then the box of its top class."""

    def read(self, images: Tensor, batch: dict | None = None) -> Reading:
        """The cut to the box; it has no map that sums to 1, and no gradient."""
        with torch.no_grad(), evaluating(self):
            box = self.box(self.whole(images))
            low, high = box.unflatten(1, (2, 2)).unbind(1)  # (B, 2) each
            spot = even(self.config.size, box)  # (B, H, W, 2)
            middle, half = (low + high) / 2, (high - low) / 2
            at = middle[:, None, None] + spot * half[:, None, None]
            return Reading(self.reader.pixels(images, at), None, at)

    def whole(self, images: Tensor) -> Tensor:
        """The whole image at the size of the cut, ``(B, C, H, W)``."""
        return self.reader.read(images).image

    def maps(self, J: Tensor) -> Tensor:
        """M of the top class, ``(B, h, w)``, negative evidence at 0."""
        features = self.task.body(J)  # (B, F, h, w)
        top = self.task.fc(features.amax(dim=(2, 3))).argmax(dim=1)  # (B,)
        weight = self.task.fc.weight[top]  # (B, F)
        return torch.einsum("bfhw,bf->bhw", features, weight).clamp(min=0)

    def box(self, J: Tensor) -> Tensor:
        """Left, top, right, bottom in [-1, 1] of what the map is about, ``(B, 4)``."""
        M = F.interpolate(self.maps(J)[:, None], self.config.size, mode="bilinear")
        return around(connected(M[:, 0], self.config.above))

    def loss(self, batch: dict) -> Loss:
        """Cross-entropy on whole images; later the mean with that on the cuts."""
        label = batch["label"]
        logits = self.task(self.whole(batch["image"]))
        nll = F.cross_entropy(logits, label)
        if self.training and batch.get("progress", 1.0) >= self.config.whole:
            logits = self.task(self.read(batch["image"]).image)
            nll = (nll + F.cross_entropy(logits, label)) / 2
        right = (logits.argmax(dim=1) == label).float().mean()
        return Loss({"class": nll}, {"train_accuracy": 100 * right})


def connected(M: Tensor, above: float) -> Tensor:
    """Places ``(B, h, w)`` above a share of the largest value, joined to its place."""
    B, h, w = M.shape
    top = M.flatten(1).argmax(dim=1)
    largest = M.amax(dim=(1, 2), keepdim=True)
    allowed = (M / largest.clamp(min=1e-30) > above).float()
    found = F.one_hot(top, h * w).view(B, h, w).to(M.dtype)
    while True:  # grow by a ring of neighbours until nothing is added
        grown = F.max_pool2d(found[:, None], 3, stride=1, padding=1)[:, 0] * allowed
        grown = torch.maximum(grown, found)
        if torch.equal(grown, found):
            return found.bool()
        found = grown


def around(inside: Tensor) -> Tensor:
    """The box ``(B, 4)`` in [-1, 1] around marked places ``(B, h, w)``, at least
    `LEAST` of the image a side and within it."""
    sides = []
    for axis in (2, 1):  # across, then down
        marked = inside.any(dim=3 - axis).float()  # (B, n)
        n = marked.shape[1]
        low = 2 * marked.argmax(dim=1) / n - 1
        high = 1 - 2 * marked.flip(1).argmax(dim=1) / n
        half = ((high - low) / 2).clamp(min=LEAST)
        middle = ((low + high) / 2).clamp(-1 + half, 1 - half)
        sides.append((middle - half, middle + half))
    (left, right), (top, bottom) = sides
    return torch.stack((left, top, right, bottom), dim=1)
