"""Experiments with g, the network that judges completions, on small images."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch

from saccade_lib.data import birds, digits, door, image_sets
from saccade_lib.data.image_sets import ImageSet, Stream
from saccade_lib.models import avp
from saccade_lib.runs.experiment import Experiment, batches_of
from saccade_lib.session import one_of


@dataclass(frozen=True)
class OnImages(Experiment):
    """A row whose model is an `avp.Avp`, trained on one fold of the training images.

    Attributes:
        images: ``"digits"`` or ``"birds"``.
        fold: 0 or 1, the fold that it is trained on.
        flip, shift: of `image_sets.Stream`.
        own: whether the images ship with nothing, such as the birds of the pack.
    """

    images: str
    _: KW_ONLY
    fold: int = 0
    flip: bool = False
    shift: int = 0
    own: bool = False

    code: ClassVar = (digits, image_sets, birds)
    unit_of: ClassVar = {
        f"{name}{t}": "nats"
        for name in ("entropy", "cross_entropy")
        for t in ("", *(f"_{t}" for t in range(1, 10)))
    }

    def __post_init__(self):
        one_of("images", self.images, ("digits", "birds"))

    def find(self, quiet: bool) -> door.Source:
        return door.mnist(quiet=quiet) if self.images == "digits" else birds.find(quiet)

    def part(self, pack: door.Source, split: str) -> ImageSet:
        """All images of a split."""
        if self.images == "digits":
            return image_sets.of_digits(pack, split)
        if len(pack.species) != self.model.classes:
            raise door.MissingData(
                f"this row tells {self.model.classes} species, not the "
                f"{len(pack.species)} of {pack.source}: set SACCADE_DATA to a folder "
                f"with {birds.PACK}.zip, or build it with `make data`"
            )
        return image_sets.of_birds(pack, split, self.model.side)

    def canvases(self, pack: door.Source, split: str, seed: int) -> Stream:
        images = self.part(pack, split)
        if split == "train":
            images = images.of_fold(self.fold)
        places = self.model.grid().L, self.model.glimpses
        return Stream(images, split, places, self.flip, self.shift, seed)

    def settle(self, model: avp.Avp, canvases: Stream, device) -> None:
        """Temperatures, from the validation images."""
        index = torch.arange(min(self.validation, len(canvases.images)))
        batch = canvases.batch(index, device)
        model.calibrate(batch["image"], batch["label"], batch["places"])

    def evaluate(self, model: avp.Avp, canvases: Stream, count: int, device) -> dict:
        """For t = 1..T random places of each image ``accuracy_t``, per cent; the mean
        ``entropy_t`` of g and its ``cross_entropy_t``, nats, equal if g is calibrated.
        Without a number: t = T."""
        count = min(count, len(canvases.images))
        found = {}
        for t in range(1, model.config.glimpses + 1):
            p, label = [], []
            for batch in batches_of(canvases, count, device):
                at = batch["places"][:, :t]
                p.append(model.predict(batch["image"], at).probabilities)
                label.append(batch["label"])
            each = avp.calibration(torch.cat(p), torch.cat(label))
            found |= {f"{name}_{t}": value for name, value in each.items()}
        return found | each
