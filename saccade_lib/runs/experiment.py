"""One trained row: its data, model and schedule, and what is measured on it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from saccade_lib import cost
from saccade_lib import train as training
from saccade_lib.data import digits, door
from saccade_lib.models import baselines, variational_saccading
from saccade_lib.models.by_windows import ByWindows

EPOCH = 60_000  # images; the streams are endless, so an epoch is a unit, as in MNIST
MEMORY_BATCH = 160  # the batch at which the paper states memory
HIT = 0.5  # a digit is hit when a window's centre is this near, in half-widths of it

MODELS = {
    variational_saccading.Config: variational_saccading.VariationalSaccading,
    baselines.Config: baselines.FullImage,
    baselines.CropsConfig: baselines.OverCrops,
    baselines.ProxyConfig: baselines.ProxyOnly,
}


@dataclass(frozen=True)
class Experiment:
    """A row at one profile.

    Attributes:
        task: of `digits.Canvases`, as are side, digit, clutter and enlarge.
        windows: how canvases are read that are never composed (`digits.Windows`):
            at ``"full"`` size; from a ``"level"``, antialiased; or so and ``"soft"``.
            Empty for composed canvases.
        model: the configuration of the model that is trained.
        schedule: of the training loop.
        seeds: the seeds that the tables want.
        validation, test: number of canvases composed for each.
    """

    task: str
    model: object
    schedule: training.Schedule
    side: int = 100
    digit: int = digits.GLYPH
    clutter: int = 8
    enlarge: int | None = None
    windows: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    validation: int = 2_000
    test: int = 10_000

    def canvases(self, pack: door.Pack, split: str, seed: int) -> digits.Canvases:
        kind, more = digits.Canvases, {}
        if self.windows:
            kind, more = digits.Windows, {"proxy": self.model.proxy}
            more["antialias"] = self.windows in ("level", "soft")
            more["soft"] = self.windows == "soft"
        return kind(
            pack,
            self.task,
            split,
            side=self.side,
            digit=self.digit,
            clutter=self.clutter,
            enlarge=self.enlarge,
            seed=seed,
            **more,
        )


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
    pack: door.Pack
    wall_seconds: float


def train(
    experiment: Experiment,
    seed: int,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    progress: bool = True,
    pack: door.Pack | None = None,
) -> Outcome:
    """Train a row, choose its weights on validation canvases, test it once.

    Args:
        folder: where checkpoints live; with one, an interrupted run goes on.
        pack: digits to draw with; found by the data door otherwise.
    """
    start = time.perf_counter()
    device = torch.device(device)
    training.start_processes()
    pack = pack or door.mnist(quiet=not progress)
    model = build(experiment, seed).to(device)
    stream = experiment.canvases(pack, "train", seed)
    batch = experiment.schedule.batch

    def batches(step: int) -> dict:
        index = torch.arange(step * batch, (step + 1) * batch)
        return stream.batch(training.share(index), device)

    held_out = experiment.canvases(pack, "validation", seed)

    def validate(model: nn.Module) -> dict[str, float]:
        return evaluate(model, held_out, experiment.validation, device)

    fit = training.fit(
        model,
        batches,
        validate,
        experiment.schedule,
        seed,
        folder=folder,
        progress=progress,
    )
    unseen = experiment.canvases(pack, "test", seed)
    measured = evaluate(model, unseen, experiment.test, device)
    units = {"hit_rate": "%", "accuracy": "%", "accuracy_sampled": "%"}
    metrics = {
        f"test_{name}": {"value": value, "unit": units[name]}
        for name, value in measured.items()
    }
    costs = measure_costs(model, stream, fit, device)
    return Outcome(model, fit, metrics, costs, pack, time.perf_counter() - start)


def build(experiment: Experiment, seed: int) -> nn.Module:
    """The untrained model of a row; its first weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = MODELS[type(experiment.model)]
        if experiment.windows and kind is variational_saccading.VariationalSaccading:
            kind = ByWindows
        model = kind(experiment.model)
    return model.to(memory_format=torch.channels_last)


def evaluate(
    model: nn.Module,
    canvases: digits.Canvases,
    count: int,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Per cent right, and for a saccading model two numbers more.

    Returns:
        ``accuracy``: with the posterior's mean places. ``accuracy_sampled``: with one
        sample of them. ``hit_rate``: per cent of digits with the centre of some window
        within a quarter of the digit's side, on both axes.
    """
    looks = isinstance(model, variational_saccading.VariationalSaccading)
    right = torch.zeros(2, dtype=torch.long)
    hits = 0
    # Evaluation draws its own noise and leaves the caller's generator alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for batch in batches_of(canvases, count, device):
            seen = model.predict(batch["image"], batch=batch)
            right[0] += is_right(seen.probabilities, batch["label"])
            if looks:
                again = model.predict(batch["image"], sample=True, batch=batch)
                right[1] += is_right(again.probabilities, batch["label"])
                hits += hit(seen.location, batch["centre"], canvases).sum().item()
    found = {"accuracy": 100 * right[0].item() / count}
    if looks:
        digits_shown = count * batch["centre"].shape[1]
        found["accuracy_sampled"] = 100 * right[1].item() / count
        found["hit_rate"] = 100 * hits / digits_shown
    return found


def batches_of(
    canvases: digits.Canvases, count: int, device="cpu", size: int = 250
) -> Iterator[dict]:
    """The first ``count`` canvases, in batches."""
    for start in range(0, count, size):
        yield canvases.batch(torch.arange(start, min(start + size, count)), device)


def is_right(probabilities: Tensor, label: Tensor) -> int:
    return int((probabilities.argmax(dim=1) == label).sum())


def hit(location: Tensor, centre: Tensor, canvases: digits.Canvases) -> Tensor:
    """Which digits ``(B, D)`` some window ``(B, T, 2)`` is centred on."""
    near = HIT * canvases.digit / canvases.side  # in [-1, 1] units
    distance = (location[:, :, None] - centre[:, None]).abs().amax(dim=3)  # (B, T, D)
    return (distance <= near).any(dim=1)


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
    if peak is not None:
        costs["training_memory"] = (peak / 2**30, "GiB")
    return {name: {"value": v, "unit": u} for name, (v, u) in costs.items()}


def _step(model, batch) -> None:
    """One forward and backward pass."""
    model.loss(batch).total.backward()
    model.zero_grad(set_to_none=True)
