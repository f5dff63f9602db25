"""Experiments on a folder of images: a reader's own, or a made one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from saccade_lib.data import (
    door,
    folders,
    headers,
    made_images,
    name_groups,
    prepared,
)
from saccade_lib.data.files import new_folder
from saccade_lib.models.looking import Looking
from saccade_lib.runs.experiment import Experiment, batches_of

BATCH = 64  # images that are judged at a time


@dataclass(frozen=True, kw_only=True)
class OnFolder(Experiment):
    """One classifier on prepared images of a reader's own folder.

    Attributes:
        mirror: as of `prepared.Views`.
    """

    mirror: bool = False

    code: ClassVar = (folders, headers, name_groups, prepared)
    unit_of: ClassVar = {"nll": "nat"}
    watch: ClassVar = "-nll"

    def canvases(self, pack: prepared.Prepared, split: str, seed: int):
        return prepared.Views(pack, split, self.model.proxy, self.mirror, seed)

    def kind(self) -> type[nn.Module]:
        return Looking

    def evaluate(self, model, canvases, count: int, device) -> dict:
        """Per cent right, with the proxy alone too, and nats of the windows' answer.

        The weight of the windows is not chosen before training has ended, so that what
        is watched until then must not depend on it.
        """
        right, proxy, nats = 0, 0, 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for random places
            for batch in batches_of(canvases, count, device, BATCH):
                seen, y = model.predict(batch["image"], batch=batch), batch["label"]
                right += int((seen.probabilities.argmax(dim=1) == y).sum())
                proxy += int((seen.after[:, 0].argmax(dim=1) == y).sum())
                p = seen.windows.gather(1, y[:, None]).clamp(min=1e-9)
                nats -= p.log().sum().item()
        return {
            "accuracy": 100 * right / count,
            "accuracy_proxy": 100 * proxy / count,
            "nll": nats / count,
        }

    def settle(self, model, canvases, device) -> None:
        """Choose the weight of the windows in the answer."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.settle(batches_of(canvases, self.validation, device, BATCH))


@dataclass(frozen=True, kw_only=True)
class OnMadeFolder(OnFolder):
    """The same on a folder of made images, which is written where it lacks.

    Attributes:
        count: images a class.
        side: of an image, about, pixels.
    """

    count: int = 40
    side: int = 384

    code: ClassVar = (*OnFolder.code, made_images)

    def find(self, quiet: bool) -> prepared.Prepared:
        pack = prepared.prepare(made_folder(self.count, self.side))
        if not quiet:
            print(f"data: {pack.note}, made here")
        return pack


def made_folder(count: int, side: int) -> folders.Folder:
    """A folder of made images in the cache, written whole or not at all."""
    name = f"made-images-{made_images.VERSION}-{count}-{side}"
    final = door.cache() / name
    with new_folder(final) as partial:
        if partial is not None:
            made_images.write(partial, count, side)
    return folders.scan(final, group=None, decode=False)
