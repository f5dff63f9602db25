"""From a folder and decisions to a trained classifier, with its controls beside it."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from saccade_lib.data import folders, headers, prepared
from saccade_lib.data.folders import Folder
from saccade_lib.models.looking import Looking
from saccade_lib.own_images.decisions import Decisions, checked, decide
from saccade_lib.own_images.trained import Trained
from saccade_lib.runs import experiment
from saccade_lib.runs.experiment import Experiment, batches_of

BATCH = 64  # images that are judged at a time


@dataclass(frozen=True, kw_only=True)
class OnFolder(Experiment):
    """One classifier on prepared images of a reader's own folder.

    Attributes:
        mirror: as of `prepared.Views`.
    """

    mirror: bool = False

    code: ClassVar = (folders, headers, prepared)
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


def rows(folder: Folder, decisions: Decisions) -> dict[str, OnFolder]:
    """What is trained, by name: the classifier and its controls."""
    counts = {split: len(folder.of(split)) for split in ("validation", "test")}
    return {
        name: OnFolder(
            model=decisions.model(len(folder.classes), places),
            schedule=decisions.schedule(),
            mirror=decisions.mirror,
            **counts,
        )
        for name, places in (
            ("saccading", decisions.places),
            *((control, control) for control in decisions.controls),
        )
    }


def train(
    folder: Folder,
    decisions: Decisions | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Trained:
    """Train on a folder of `scan`, test once, and compare with the controls.

    Args:
        decisions: of `decide`; chosen from the folder by default.
        out: where checkpoints lie, ``out/checkpoints``; with it, a run that was stopped
            goes on with the same call. The result is not saved: `Trained.save`.
        cache: where copies of images lie; `prepared.cache` by default.
        device: the GPU if there is one.

    Raises:
        BadFolder: images that do not decode, or are too small, before training.
        OSError: no room on the disk.
    """
    decisions = checked(folder, decisions or decide(folder))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    start, clock = time.perf_counter(), time.process_time()
    pack = prepared.prepare(folder, cache and Path(cache), say)
    pack.proxies(decisions.proxy)
    models, right, curves = {}, {}, {}
    for name, row in rows(folder, decisions).items():
        work = Path(out) / "checkpoints" / _key(name, row, pack) if out else None
        made = experiment.train(row, decisions.seed, device, work, progress, pack)
        models[name], curves[name] = made.model, made.fit.curves
        right[name], of_proxy = answers(made.model, row, pack, device)
        if name == "saccading":
            right["proxy only"] = of_proxy
        accuracy = made.metrics["test_accuracy"]["value"]
        say(f"{name}: {accuracy:.1f} % of {row.test} test images right")
    return Trained(
        model=models["saccading"].cpu(),
        classes=folder.classes,
        decisions=decisions,
        right=right,
        curves=curves,
        seconds=time.perf_counter() - start,
        cpu_seconds=time.process_time() - clock,
    )


def _key(name: str, row: OnFolder, pack: prepared.Prepared) -> str:
    """A folder's name that no other images and no other decisions have."""
    all_of_it = f"{row.model} {row.schedule} {row.mirror} {pack.sha256}"
    return f"{name}-{hashlib.sha256(all_of_it.encode()).hexdigest()[:12]}"


def answers(model: Looking, row: OnFolder, pack, device) -> tuple[list, list]:
    """Whether each test image is answered right, and by the proxy alone."""
    views, right, proxy = row.canvases(pack, "test", 0), [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for batch in batches_of(views, row.test, device, BATCH):
            seen, y = model.predict(batch["image"], batch=batch), batch["label"]
            right += (seen.probabilities.argmax(dim=1) == y).tolist()
            proxy += (seen.after[:, 0].argmax(dim=1) == y).tolist()
    return right, proxy
