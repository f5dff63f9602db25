"""Rows of Learning to Zoom: digits, scenes with birds, or a reader's own pictures."""

import os
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from saccade_lib import deformable, zoom_measures, zoom_peers, zoom_reading
from saccade_lib.data import birds, digits, door, satellite, scenes
from saccade_lib.data import species as pictures
from saccade_lib.models.dynamic import DynamicGlimpses
from saccade_lib.models.zoom import Zoomed
from saccade_lib.runs.experiment import Experiment, Stream, batches_of, is_right
from saccade_lib.runs.on_traversal import right
from saccade_lib.runs.tnet import stopping
from saccade_lib.session import one_of
from saccade_lib.train import evaluating

DATA = ("digits", "scenes", "inaturalist", "cub")
FOLDERS = {"inaturalist": "SACCADE_INATURALIST", "cub": birds.FOLDER}  # environment
NAMES = {
    "entropy": "map_entropy",
    "zoom": "largest_zoom",
    "covered": "covered",
    "mass_inside": "mass_on_object",
    "pixels_inside": "pixels_on_object",
}  # of `zoom_measures`, in records
NO_SHARE = ("entropy", "zoom")
CONFIDENT = (0.5, 0.7, 0.9)  # probabilities of the best class at which looking ends
EVALUATED = 100  # images a batch: scenes are large


@dataclass(frozen=True, kw_only=True)
class OnZoom(Experiment):
    """A row at one profile on canvases of one digit, on `scenes.Scenes`, or on
    `pictures.Pictures` of a reader's own.

    Attributes:
        data: one of `DATA`.
        side: K of the images, pixels; of pictures in training.
        thing: side of the digit, or of the largest bird, pixels.
        others: patches of clutter, or distractors.
        species: of scenes.
        tested: side of the middle of pictures that is tested, pixels.
    """

    data: str = "digits"
    side: int = 128
    thing: int = digits.GLYPH
    others: int = 5
    species: bool = False
    tested: int = pictures.TESTED

    code: ClassVar = (
        *(digits, scenes, birds, satellite, pictures),
        *(zoom_reading, zoom_peers, zoom_measures, deformable),
    )
    unit_of: ClassVar = {
        "map_entropy": "nats",
        "largest_zoom": "",
        **{f"glimpses_{100 * t:.0f}": "" for t in CONFIDENT},
    }

    def __post_init__(self):
        one_of("data", self.data, DATA)

    @property
    def own(self) -> bool:
        """Whether its pictures are a reader's own."""
        return self.data in FOLDERS

    def find(self, quiet: bool) -> door.Source:
        if self.data == "digits":
            return door.mnist(quiet=quiet)
        if self.data == "scenes":
            return scenes.find(quiet)
        name = FOLDERS[self.data]
        if not (folder := os.environ.get(name)):
            raise door.MissingData(
                f"this row reads {self.data}, of which nothing ships: set {name} to "
                "the folder of your copy, or take the profile standard"
            )
        return getattr(pictures, self.data)(folder)

    def canvases(self, pack: door.Source, split: str, seed: int) -> Stream:
        if self.data == "digits":
            return scenes.BoxedDigits(
                pack,
                "single",
                split,
                side=self.side,
                digit=self.thing,
                clutter=self.others,
                seed=seed,
            )
        if self.data == "scenes":
            found = scenes.Scenes(
                pack,
                split,
                side=self.side,
                bird=self.thing,
                distractors=self.others,
                species=self.species,
                seed=seed,
            )
        else:
            found = pictures.Pictures(pack, split, self.side, self.tested, seed)
        if found.classes != self.model.classes:
            raise ValueError(
                f"{pack.note} have {found.classes} classes, but this row has "
                f"{self.model.classes}: unset ${FOLDERS.get(self.data, birds.FOLDER)}, "
                f"or make a row with classes={found.classes}"
            )
        return found

    def evaluate(self, model: nn.Module, canvases: Stream, count: int, device) -> dict:
        """``accuracy`` and ``top5``; with a reader what it did to images (`looked`); of
        glimpses in turn what a stop gives (`stopped`)."""
        batches = partial(batches_of, canvases, count, device, EVALUATED)
        if isinstance(model, Zoomed):
            return looked(model, batches())
        found = {"accuracy": 0.0, "top5": 0.0}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of a first glimpse
            for batch in batches():
                p = model.predict(batch["image"], batch=batch).probabilities
                found["accuracy"] += 100 * is_right(p, batch["label"]) / count
                found["top5"] += 100 * right(p, batch["label"], 5) / count
        return found | stopped(model, batches())


@torch.no_grad()
def looked(model: Zoomed, batches) -> dict[str, float]:
    """Accuracies, and means of `zoom_measures` under the names of `NAMES`; all in per
    cent but `NO_SHARE`. Of the largest zoom the median."""
    parts: dict[str, list[Tensor]] = {}
    with evaluating(model):
        for batch in batches:
            seen, label = model.read(batch["image"], batch), batch["label"]
            answer = model.task(seen.image)  # (B, classes)
            best = answer.topk(min(5, answer.shape[1]), dim=1).indices
            each = {"accuracy": best[:, 0] == label}
            each["top5"] = (best == label[:, None]).any(dim=1)
            shape = tuple(batch["image"].shape[-2:])
            each |= zoom_measures.measures(seen, shape, batch.get("box"))
            for name, values in each.items():
                parts.setdefault(name, []).append(values.cpu().double())
    found = {}
    for name, values in parts.items():
        of_all = torch.cat(values)
        value = of_all.median() if name == "zoom" else of_all.mean()
        scale = 1 if name in NO_SHARE else 100
        found[NAMES.get(name, name)] = scale * float(value)
    return found


@torch.no_grad()
def stopped(model: DynamicGlimpses, batches) -> dict[str, float]:
    """Accuracy and mean number of glimpses if looking ends at a probability.

    Returns:
        For each of `CONFIDENT`, as per cent in the name: ``accuracy_P``,
        ``glimpses_P``; ``dealt_P``, the accuracy if the same numbers of glimpses are
        dealt to images at random.
    """
    p, label = [], []
    # The first place is drawn, not chosen: the same each time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for batch in batches:
            p.append(model.after_each(batch["image"]).cpu())  # (B, T, classes)
            label.append(batch["label"].cpu())
    every, truth = torch.cat(p), torch.cat(label)
    correct = (every.argmax(dim=2) == truth[:, None]).float()
    known = stopping.Known(every, torch.zeros_like(correct[:, 1:]), correct)
    found = {}
    for threshold in CONFIDENT:
        numbers = stopping.confident_numbers(known, threshold)  # after the first
        name = f"{100 * threshold:.0f}"
        found[f"accuracy_{name}"] = stopping.right_at(known, numbers)
        found[f"glimpses_{name}"] = 1 + float(numbers.float().mean())
        found[f"dealt_{name}"] = stopping.dealt(known, numbers)
    return found
