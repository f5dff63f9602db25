"""Recurrent attention on small images, some of them with a sequence of places."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from saccade_lib import sequences
from saccade_lib.data import birds, digits, door, image_sets, taught
from saccade_lib.data.image_sets import ImageSet
from saccade_lib.data.taught import Taught
from saccade_lib.design import Grid
from saccade_lib.runs.experiment import Experiment, batches_of
from saccade_lib.session import one_of
from saccade_lib.train import evaluating

DRAWS = 5  # sequences an image in testing, as in the public code
SIDES = {"digits": 28, "birds": 64}
STRIDE = 4  # pixels from one cell to the next
SOURCES = ("none", "designed", "hand", "ram", "random")


@dataclass(frozen=True)
class OnSequences(Experiment):
    """A row of Table 1: one network, and whose sequences it is told.

    Attributes:
        images: ``"digits"`` or ``"birds"``.
        told: whose: ``"none"``; ``"designed"``, near-optimal ones; ``"hand"``, from a
            bird's parts; ``"ram"``, drawn from the policy of the row `teacher`;
            ``"random"``, a control.
        known: how many of the training images have one: half of each fold, evenly
            spaced, as in `annotation`.
        plus: whether places of pretraining are drawn where a first look is worth most,
            rather than evenly.
        attribute: tells the species apart by one attribute; "" is by themselves.
        teacher: row of `ROWS` whose policy is the source ``"ram"``.
        designs: name of the set of designed sequences; "" is that of `images`.
        annotated: its profile.
        own: whether the images ship with nothing, such as the birds of the pack.
    """

    images: str
    _: KW_ONLY
    told: str = "none"
    known: int = 200
    plus: bool = False
    attribute: str = ""
    teacher: str = ""
    designs: str = ""
    annotated: str = "standard"
    own: bool = False

    code: ClassVar = (digits, image_sets, birds, taught)
    unit_of: ClassVar = {"cross_entropy": "nats"}

    def __post_init__(self):
        one_of("images", self.images, tuple(SIDES))
        one_of("told", self.told, SOURCES)
        if self.known < 2:
            raise ValueError(f"known must be 2 or more images, got {self.known}")
        if (self.told == "ram") != bool(self.teacher):
            raise ValueError("told by 'ram' needs a teacher, and nothing else does")

    @property
    def grid(self) -> Grid:
        return Grid(SIDES[self.images], self.model.size, STRIDE)

    def find(self, quiet: bool) -> door.Source:
        return door.mnist(quiet=quiet) if self.images == "digits" else birds.find(quiet)

    def part(self, pack: door.Source, split: str) -> ImageSet:
        """All images of a split, labelled by class or by the attribute."""
        if self.images == "digits":
            return image_sets.of_digits(pack, split)
        some = image_sets.of_birds(pack, split, self.grid.side)
        if not self.attribute:
            return some
        has = torch.from_numpy(pack.has(self.attribute)).long()
        return replace(some, label=has[some.label], classes=2)

    def canvases(self, pack: door.Source, split: str, seed: int) -> Taught:
        images = self.part(pack, split)
        flip = self.images == "birds"

        def find() -> tuple[Tensor, Tensor]:
            return self.places(images, split, seed)

        return Taught(images, split, find, self.grid.n, flip, seed)

    def places(self, images: ImageSet, split: str, seed: int) -> tuple[Tensor, Tensor]:
        """What `Taught.find` gives; only training images have a sequence."""
        L = self.grid.L
        known = torch.full((len(images), self.model.glimpses), taught.UNKNOWN)
        spread = torch.full((L,), 1 / L)
        if split == "train" and self.told != "none":
            rows = self.annotated_rows(images)
            known[rows] = self.sequences(images.take(rows), seed)
        if split == "train" and self.plus:
            first = self.designed().maps[0, 0]  # of all images
            spread = sequences.concentrated(first)
        return known, spread

    def designed(self):
        from saccade_lib.annotation import job  # a layer above

        source = self.find(quiet=True)
        return job.current(self.designs or self.images, self.annotated, source)

    def annotated_rows(self, images: ImageSet) -> Tensor:
        """Positions of the images that have a sequence."""
        from saccade_lib.annotation.job import evenly  # a layer above

        of_fold = [(images.fold == f).nonzero()[:, 0] for f in (0, 1)]
        return torch.cat([f[evenly(len(f), self.known // 2)] for f in of_fold])

    def sequences(self, images: ImageSet, seed: int) -> Tensor:
        """Cells ``(N, T)`` of these training images, from the row's source."""
        T = self.model.glimpses
        if self.told == "designed":
            found = self.designed()
            return found.places[[found.of(int(id)) for id in images.id], :T]
        if self.told == "hand":
            return sequences.by_hand(images, self.grid, seed)[:, :T]
        if self.told == "random":
            generator = torch.Generator().manual_seed(seed)
            return torch.randint(self.grid.L, (len(images), T), generator=generator)
        return drawn_by(self.teacher, self.annotated, images, seed)

    def evaluate(self, model, canvases: Taught, count: int, device) -> dict:
        """Means over `DRAWS` sequences of each image: ``accuracy``, per cent;
        ``cross_entropy``, nats; of birds ``on_parts``, per cent of the glimpses that
        have a visible part inside."""
        count = min(count, len(canvases.images))
        sums = dict.fromkeys(("accuracy", "cross_entropy", "on_parts"), 0.0)
        with torch.random.fork_rng(devices=[]), evaluating(model), torch.no_grad():
            torch.manual_seed(0)
            for batch in batches_of(canvases, count, device):
                trace = model.run(batch["image"], DRAWS)
                log_p = model._log_p(trace.state)[:, 0]  # (B M, classes)
                label = batch["label"].repeat_interleave(DRAWS)
                sums["accuracy"] += 100 * (log_p.argmax(1) == label).sum() / DRAWS
                sums["cross_entropy"] -= log_p.gather(1, label[:, None]).sum() / DRAWS
                if "parts" in batch:
                    each = self.on_parts(trace.location, batch)  # (B M,)
                    sums["on_parts"] += 100 * each.sum() / DRAWS
        if "parts" not in batch:
            del sums["on_parts"]
        return {name: float(value) / count for name, value in sums.items()}

    def on_parts(self, location: Tensor, batch: dict) -> Tensor:
        """Share of glimpses ``(B M, T, 2)`` with a visible part inside, ``(B M,)``."""
        M = len(location) // len(batch["label"])
        parts, visible = (
            batch[name].repeat_interleave(M, dim=0) for name in ("parts", "visible")
        )
        half = self.grid.size / self.grid.side
        gap = (parts[:, None] - location[:, :, None]).abs()  # (B M, T, P, 2)
        inside = (gap <= half).all(dim=-1) & visible[:, None]  # (B M, T, P)
        return inside.any(dim=2).float().mean(dim=1)


def drawn_by(teacher: str, profile: str, images: ImageSet, seed: int) -> Tensor:
    """One sequence of each image from the policy of a row's seed 0, ``(N, T)``."""
    from saccade_lib.annotation.job import posterior  # a layer above

    model = posterior(teacher, profile)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        parts = [model.run(x).action for x in images.pixels().split(250)]
    return torch.cat(parts)
