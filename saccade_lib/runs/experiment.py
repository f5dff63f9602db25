"""One trained row: its data, model and schedule, and what is measured on it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from saccade_lib import cost
from saccade_lib import train as training
from saccade_lib.data import door
from saccade_lib.models import (
    attention_sampling,
    avp,
    bagnet,
    baselines,
    cam,
    dynamic,
    efficientnet,
    gaze,
    imagenet_dram,
    itracker,
    partial_supervision,
    patch_selection,
    plain,
    recurrent_attention,
    saccader,
    spatial_transformers,
    tnet,
    variational_saccading,
    whole,
    wsram,
    zoom_classifier,
)

EPOCH = 60_000  # images; the streams are endless, so an epoch is a unit, as in MNIST
MEMORY_BATCH = 160  # the batch at which the paper states memory

MODELS = {
    variational_saccading.Config: variational_saccading.VariationalSaccading,
    baselines.Config: baselines.FullImage,
    baselines.CropsConfig: baselines.OverCrops,
    baselines.ProxyConfig: baselines.ProxyOnly,
    recurrent_attention.Config: recurrent_attention.RecurrentAttention,
    wsram.Config: wsram.Wsram,
    partial_supervision.Config: partial_supervision.PartlySupervised,
    partial_supervision.WsramConfig: partial_supervision.WsramFromStart,
    tnet.Config: tnet.TNet,
    bagnet.Config: bagnet.BagNet77,
    efficientnet.Config: efficientnet.EfficientNetB0,
    saccader.Config: saccader.Saccader,
    imagenet_dram.Config: imagenet_dram.ImagenetDram,
    avp.Config: avp.Avp,
    plain.Config: plain.Plain,
    zoom_classifier.ClassifierConfig: zoom_classifier.ZoomClassifier,
    cam.CamConfig: cam.Cam,
    dynamic.DynamicConfig: dynamic.DynamicGlimpses,
    gaze.Config: gaze.Gaze,
    itracker.Config: itracker.ITracker,
    whole.Config: whole.Whole,
    whole.TilesConfig: whole.Tiles,
    attention_sampling.Config: attention_sampling.AttentionSampling,
    patch_selection.Config: patch_selection.PatchSelection,
    spatial_transformers.Config: spatial_transformers.SpatialTransformer,
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A row at one profile. Each family of data has a subclass of its own, which says
    where its data come from (`find`) and how images are made of them (`canvases`).

    Attributes:
        model: the configuration of the model that is trained, a key of `MODELS`.
        schedule: of the training loop.
        seeds: the seeds that the tables want.
        validation, test: number of images composed for each.
    """

    model: object
    schedule: training.Schedule
    seeds: tuple[int, ...] = (0, 1, 2)
    validation: int = 2_000
    test: int = 10_000

    code: ClassVar[tuple[ModuleType, ...]]  # modules that make its images
    unit_of: ClassVar[dict[str, str]] = {}  # of metrics that are not per cent
    watch: ClassVar[str] = "accuracy"  # chooses the weights, as of `training.fit`
    kept: ClassVar[bool] = True  # weights of the first seed, beside its record

    def find(self, quiet: bool) -> door.Source:
        """The data, through the door."""
        raise NotImplementedError

    def canvases(self, pack: door.Source, split: str, seed: int) -> "Stream":
        """The images of a split; validation and test are the same for every seed."""
        raise NotImplementedError

    def kind(self) -> type[nn.Module]:
        """The class of the model."""
        return MODELS[type(self.model)]

    def evaluate(self, model, canvases: "Stream", count: int, device) -> dict:
        """Metrics by name, in per cent but for `unit_of`; `watch` chooses."""
        return evaluate(model, canvases, count, device)

    def settle(self, model, canvases: "Stream", device) -> None:
        """What is fitted on validation images once training has ended: nothing."""

    def costs(self, model, canvases: "Stream", fit: training.Fit, device) -> dict:
        """Costs by name, as records hold them; of the training images ``canvases``."""
        return measure_costs(model, canvases, fit, device)


class Stream(Protocol):
    """An endless, random-access source of images: the same index, the same image."""

    classes: int

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, C, H, W)``, ``label (B,)``, and what else the model needs."""

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """For each thing that should be looked at, whether some window is on it."""


@dataclass
class Outcome:
    """A trained model and what was measured on it.

    Attributes:
        metrics, costs: name to ``{"value", "unit"}``, as records hold them.
        wall_seconds: everything, from building the model to the last measurement.
    """

    model: nn.Module
    fit: training.Fit
    metrics: dict[str, dict]
    costs: dict[str, dict]
    pack: door.Source
    wall_seconds: float


def train(
    experiment: Experiment,
    seed: int,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    progress: bool = True,
    pack: door.Source | None = None,
) -> Outcome:
    """Train a row, choose its weights on validation canvases, test it once.

    Args:
        folder: where checkpoints live; with one, an interrupted run goes on.
        pack: data to draw with; found by the data door otherwise.
    """
    start = time.perf_counter()
    device = torch.device(device)
    training.start_processes()
    pack = pack or experiment.find(quiet=not progress)
    model = build(experiment, seed).to(device)
    stream = experiment.canvases(pack, "train", seed)
    batch = experiment.schedule.batch

    def batches(step: int) -> dict:
        index = torch.arange(step * batch, (step + 1) * batch)
        return stream.batch(training.share(index), device)

    held_out = experiment.canvases(pack, "validation", seed)

    def validate(model: nn.Module) -> dict[str, float]:
        return experiment.evaluate(model, held_out, experiment.validation, device)

    fit = training.fit(
        model,
        batches,
        validate,
        experiment.schedule,
        seed,
        folder=folder,
        watch=experiment.watch,
        progress=progress,
    )
    experiment.settle(model, held_out, device)
    unseen = experiment.canvases(pack, "test", seed)
    measured = experiment.evaluate(model, unseen, experiment.test, device)
    metrics = {
        f"test_{name}": {"value": value, "unit": experiment.unit_of.get(name, "%")}
        for name, value in measured.items()
    }
    costs = experiment.costs(model, stream, fit, device)
    return Outcome(model, fit, metrics, costs, pack, time.perf_counter() - start)


def as_kind(kind: type, of: object, **changes):
    """A dataclass with the fields of another one, some of them changed."""
    return kind(**{f.name: getattr(of, f.name) for f in fields(of)} | changes)


def build(experiment: Experiment, seed: int) -> nn.Module:
    """The untrained model of a row; its first weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = experiment.kind()(experiment.model)
    return model.to(memory_format=torch.channels_last)


def evaluate(
    model: nn.Module,
    canvases: Stream,
    count: int,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Per cent right, and for a saccading model two numbers more.

    Returns:
        ``accuracy``: with the posterior's mean places. ``accuracy_sampled``: with one
        sample of them. ``hit_rate``: per cent of the things worth looking at that some
        window is on (`Stream.hits`).
    """
    looks = isinstance(model, variational_saccading.VariationalSaccading)
    right = torch.zeros(2, dtype=torch.long)
    hits = []
    # Evaluation draws its own noise and leaves the caller's generator alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for batch in batches_of(canvases, count, device):
            seen = model.predict(batch["image"], batch=batch)
            right[0] += is_right(seen.probabilities, batch["label"])
            if looks:
                again = model.predict(batch["image"], sample=True, batch=batch)
                right[1] += is_right(again.probabilities, batch["label"])
                hits.append(canvases.hits(seen.location, batch).flatten())
    found = {"accuracy": 100 * right[0].item() / count}
    if looks:
        found["accuracy_sampled"] = 100 * right[1].item() / count
        found["hit_rate"] = 100 * torch.cat(hits).float().mean().item()
    return found


def batches_of(
    canvases: Stream, count: int, device="cpu", size: int = 250
) -> Iterator[dict]:
    """The first ``count`` canvases, in batches."""
    for start in range(0, count, size):
        yield canvases.batch(torch.arange(start, min(start + size, count)), device)


def is_right(probabilities: Tensor, label: Tensor) -> int:
    return int((probabilities.argmax(dim=1) == label).sum())


def measure_costs(model, stream, fit: training.Fit, device) -> dict[str, dict]:
    """Parameters, multiplications an image, time an epoch, memory at batch 160.

    The model is left exactly as it was found.
    """
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    batch = stream.batch(torch.arange(8), device)
    saved = cost.saved_activations(lambda: model.loss(batch), model) / 8
    large = stream.batch(torch.arange(MEMORY_BATCH), device)
    peak = cost.peak_device_memory(lambda: _step(model, large), device)
    model.load_state_dict(state)
    model.eval()
    one = stream.batch(torch.arange(1), device)
    counted = cost.multiplications(lambda: model.predict(one["image"], batch=one))
    costs = {
        "parameters": (cost.parameters(model) / 1e6, "M"),
        "multiplications": (counted / 1e6, "M"),
        "seconds_per_epoch": (fit.seconds / fit.images * EPOCH, "s/epoch"),
        "train_seconds": (fit.seconds, "s"),
        "saved_activations": (saved / cost.MIB, "MiB"),
    }
    if torch.device(device).type == "cpu":
        of_epoch = fit.cpu_seconds / fit.images * EPOCH
        costs["cpu_seconds_per_epoch"] = (of_epoch, "s/epoch")
    if peak is not None:
        costs["training_memory"] = (peak / 2**30, "GiB")
    return {name: {"value": v, "unit": u} for name, (v, u) in costs.items()}


def _step(model, batch) -> None:
    """One forward and backward pass."""
    model.loss(batch).total.backward()
    model.zero_grad(set_to_none=True)
