"""From a folder and decisions to a trained classifier, with its controls beside it."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

from saccade_lib.data import prepared
from saccade_lib.data.folders import Folder
from saccade_lib.models.looking import Looking
from saccade_lib.own_images.decisions import Decisions, checked, decide
from saccade_lib.own_images.trained import Trained
from saccade_lib.runs import experiment
from saccade_lib.runs.experiment import batches_of
from saccade_lib.runs.on_folder import BATCH, OnFolder


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
