"""The one training loop.

Any model with ``loss(batch) -> Loss`` trains here. The loop owns no randomness: the
batch of step k and the noise drawn in step k are functions of (seed, k), so a run that
was killed and resumed takes the same steps as one that was not.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm


@dataclass
class Loss:
    """Named terms that sum to the total, and numbers worth watching beside them.

    Attributes:
        terms: scalars with a gradient, by name.
        metrics: scalars without one, by name; shown, never optimised.
    """

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        return sum(self.terms.values())


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: number of optimiser steps.
        batch: images a step, over all processes.
        rate: AdamW's learning rate: linear warm-up, constant, linear decay to zero.
        warmup: share of the steps spent warming up.
        decay: share of the steps spent decaying, at the end.
        drop_at: share of the steps after which the rate is a tenth; 1 is never.
        clip: largest norm of the gradient.
        weight_decay: AdamW's.
        validate_every: steps between validations; the last step always validates.
        choose_after: share of the steps before whose end no validation may choose the
            weights: where the task still changes, its accuracies do not compare.
        precision: ``"float32"``, or ``"bfloat16"`` for autocast on the device.
        graph: on a GPU, capture loss and gradient once as a CUDA graph and replay it:
            launching a small network's kernels one by one takes longer than running
            them. The model must not look at values (`glimpse.may_look`), and batches
            must be tensors of one shape. No effect on a CPU.
    """

    steps: int
    batch: int = 128
    rate: float = 2e-3
    warmup: float = 0.02
    decay: float = 0.25
    clip: float = 1.0
    weight_decay: float = 1e-2
    validate_every: int = 500
    choose_after: float = 0.0
    precision: str = "float32"
    graph: bool = False
    drop_at: float = 1.0

    def factor(self, step: int) -> float:
        """Learning rate at a step over ``rate``."""
        up = (step + 1) / max(1.0, self.warmup * self.steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        dropped = 0.1 if step >= self.drop_at * self.steps else 1.0
        return min(1.0, up, down) * dropped


@dataclass
class Fit:
    """What a training run left behind.

    Attributes:
        curves: columns ``step``, ``seconds``, each loss term, and each validation
            metric as ``validation_NAME``; one entry a validation.
        best_step: the step whose weights the model now carries.
        best: its validation metric, with a minus where lower is better.
        seconds: wall time of training, without validation, over all resumed parts.
        cpu_seconds: the process's own, which neighbours on the machine hardly change.
        images: number of images trained on.
    """

    curves: dict[str, list[float]]
    best_step: int
    best: float
    seconds: float
    cpu_seconds: float
    images: int


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; the mode of before after it, come what may."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class NotFinite(RuntimeError):
    """A loss term or a gradient became infinite or not a number."""


def fit(
    model: nn.Module,
    batches: Callable[[int], dict],
    validate: Callable[[nn.Module], dict[str, float]],
    schedule: Schedule,
    seed: int,
    folder: Path | None = None,
    watch: str = "accuracy",
    progress: bool = True,
    checkpoint_every: float = 60.0,
) -> Fit:
    """Train, keep the weights that validate best, and put them into the model.

    Args:
        model: on its device; ``model.loss(batch) -> Loss``. Where it has ``rates()``,
            groups of parameters, each has a ``ratio`` by which its rate is multiplied.
        batches: the batch of a step, ``batches(step) -> dict`` of tensors on the
            device. Under `torchrun` it returns this process's share (`share`).
        validate: metrics of the model, by name.
        seed: of the noise drawn inside the model.
        folder: where checkpoints live. A run whose folder holds one goes on from it.
        watch: the validation metric that chooses the weights, higher is better; with
            a minus before its name, lower is.
        checkpoint_every: seconds between checkpoints.

    Raises:
        NotFinite: naming the term and the step. The last checkpoint stays.
        OSError: a checkpoint could not be written; the one before it stays.
        ValueError: the folder's checkpoint belongs to another schedule or seed.
    """
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(
        model.rates() if hasattr(model, "rates") else model.parameters(),
        lr=schedule.rate,
        weight_decay=schedule.weight_decay,
        fused=device.type == "cuda",
    )
    state = _State(asdict(schedule) | {"seed": seed, "watch": watch})
    if folder is not None:
        state.resume(Path(folder), model, optimiser)
    # Asked here: in a notebook tqdm draws its widget before it looks.
    quiet = not progress or bool(os.environ.get("TQDM_DISABLE"))
    bar = tqdm(total=schedule.steps, initial=state.step, leave=False, disable=quiet)
    saved = time.monotonic()
    gradient = _Gradient(model, schedule, device)
    ahead = None  # the next batch
    while state.step < schedule.steps:
        clocks = time.perf_counter(), time.process_time()
        batch = batches(state.step) if ahead is None else ahead
        loss, norm = gradient(batch, state.step, seed)
        more = device.type == "cuda" and state.step + 1 < schedule.steps
        ahead = batches(state.step + 1) if more else None  # while the GPU is busy
        _update(optimiser, loss, norm, schedule, state.step)
        state.step += 1
        state.seconds += time.perf_counter() - clocks[0]
        state.cpu_seconds += time.process_time() - clocks[1]
        state.note_loss(loss)
        bar.update()
        last = state.step == schedule.steps
        if last or state.step % schedule.validate_every == 0:
            synchronise(device)
            model.eval()
            with torch.no_grad():
                metrics = validate(model)
            state.note_validation(metrics, model)
            bar.set_postfix(state.latest())
        if folder is not None and (last or time.monotonic() - saved > checkpoint_every):
            state.save(Path(folder), model, optimiser)
            saved = time.monotonic()
    bar.close()
    model.load_state_dict(state.best_weights)
    model.eval()
    return Fit(
        state.curves,
        state.best_step,
        state.best,
        state.seconds,
        state.cpu_seconds,
        schedule.steps * schedule.batch,
    )


class _Gradient:
    """Loss and clipped gradient of a step, captured as a CUDA graph where asked for."""

    def __init__(self, model: nn.Module, schedule: Schedule, device: torch.device):
        self.model, self.schedule, self.device = model, schedule, device
        self.graph = None

    def __call__(self, batch: dict, step: int, seed: int) -> tuple[Loss, Tensor]:
        self.model.train()
        batch = batch | {"progress": step / self.schedule.steps}
        capture = self.schedule.graph and self.device.type == "cuda"
        if capture and self.graph is None:
            self._capture(batch)
        # The noise of this step in this process, and of no other.
        torch.manual_seed((seed * 1_000_003 + step) * 1_009 + rank())
        loss = self._replay(batch) if capture else self._backward(batch)
        _average_gradients(self.model)
        parameters = self.model.parameters()
        return loss, nn.utils.clip_grad_norm_(parameters, self.schedule.clip)

    def _backward(self, batch: dict) -> Loss:
        half = self.schedule.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            loss = self.model.loss(batch)
        self.model.zero_grad(set_to_none=True)
        loss.total.backward()
        return loss

    def _capture(self, batch: dict) -> None:
        """Record the kernels of one step; the model is left as it was found."""
        loose = [k for k, v in batch.items() if not isinstance(v, Tensor)]
        if loose != ["progress"]:
            raise ValueError(f"a graph's batch holds tensors only, not {loose[:-1]}")
        now = torch.tensor(batch["progress"], dtype=torch.float64, device=self.device)
        self.batch = {k: v.clone() for k, v in batch.items() if k != "progress"}
        self.batch["progress"] = now
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels here
            for _ in range(3):
                self._backward(self.batch)
        torch.cuda.current_stream().wait_stream(stream)
        self.model.load_state_dict(before)
        self.model.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self._backward(self.batch)

    def _replay(self, batch: dict) -> Loss:
        for name, value in batch.items():
            if name == "progress":
                self.batch[name].fill_(value)
            else:
                self.batch[name].copy_(value)
        self.graph.replay()
        return self.loss


def _update(optimiser, loss: Loss, norm: Tensor, schedule: Schedule, step: int) -> None:
    """One step of the optimiser, unless the loss or its gradient is not finite."""
    for group in optimiser.param_groups:
        ratio = group.get("ratio", 1.0)
        group["lr"] = ratio * schedule.rate * schedule.factor(step)
    if not math.isfinite(norm + float(loss.total.detach())):
        _explain(loss, step)
    optimiser.step()


def _explain(loss: Loss, step: int) -> None:
    values = {name: float(term.detach()) for name, term in loss.terms.items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    what = f"loss term {', '.join(bad)}" if bad else "the gradient of a finite loss"
    raise NotFinite(
        f"{what} is not finite at step {step} (terms: {values}). Weights and the last "
        "checkpoint are those of the step before; lower the rate or look at the batch."
    )


class _State:
    """Everything but weights and optimiser that a checkpoint must hold."""

    def __init__(self, identity: dict):
        self.identity = identity
        self.step = 0
        self.seconds = self.cpu_seconds = 0.0
        self.best, self.best_step, self.best_weights = -math.inf, 0, {}
        self.curves: dict[str, list[float]] = {}
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def note_loss(self, loss: Loss) -> None:
        self._count += 1
        for name, value in (loss.terms | loss.metrics).items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()

    def note_validation(self, metrics: dict[str, float], model: nn.Module) -> None:
        """Close an interval: mean loss terms since the last, and the metrics now."""
        row = {"step": self.step, "seconds": round(self.seconds, 2)}
        row |= {name: float(value) / self._count for name, value in self._sums.items()}
        row |= {f"validation_{name}": float(value) for name, value in metrics.items()}
        for name, value in row.items():
            self.curves.setdefault(name, []).append(value)
        self._sums, self._count = {}, 0
        name = self.identity["watch"]
        watched = float(metrics[name.removeprefix("-")])
        if not math.isfinite(watched):
            raise NotFinite(
                f"validation {name.removeprefix('-')} is {watched} at step {self.step}"
            )
        watched = -watched if name.startswith("-") else watched
        early = self.step < self.identity["choose_after"] * self.identity["steps"]
        if watched > self.best and not early:
            self.best, self.best_step = watched, self.step
            self.best_weights = {
                name: value.detach().clone()
                for name, value in model.state_dict().items()
            }

    def latest(self) -> dict[str, str]:
        skip = ("step", "seconds")
        return {k: f"{v[-1]:.4g}" for k, v in self.curves.items() if k not in skip}

    def save(self, folder: Path, model: nn.Module, optimiser) -> None:
        if rank() != 0:
            return
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_weights.items()}
        tensors |= {f"sum.{k}": v for k, v in self._sums.items()}
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{k}": v for k, v in moments.items()}
        notes = {
            "identity": self.identity,
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "best": self.best if self.best_weights else None,
            "best_step": self.best_step,
            "curves": self.curves,
            "count": self._count,
        }
        write_tensors(folder / "checkpoint.safetensors", tensors, notes)

    def resume(self, folder: Path, model: nn.Module, optimiser) -> None:
        path = folder / "checkpoint.safetensors"
        if not path.exists():
            return
        device = next(model.parameters()).device
        tensors, notes = read_tensors(path, device)
        if notes["identity"] != self.identity:
            raise ValueError(
                f"{path} was made by another run ({notes['identity']}), not by "
                f"{self.identity}: delete it or choose another folder"
            )

        def part(prefix):
            n = len(prefix)
            return {k[n:]: v for k, v in tensors.items() if k.startswith(prefix)}

        model.load_state_dict(part("model."))
        self.best_weights, self._sums = part("best."), part("sum.")
        moments: dict[int, dict] = {}
        for key, value in part("adam.").items():
            number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = (
                value.cpu() if name == "step" else value
            )
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.step = notes["step"]
        self.seconds, self.cpu_seconds = notes["seconds"], notes["cpu_seconds"]
        self.best = -math.inf if notes["best"] is None else notes["best"]
        self.best_step, self.curves = notes["best_step"], notes["curves"]
        self._count = notes["count"]


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict) -> None:
    """Write a safetensors file so that the path holds the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    try:
        save_file(tensors, temporary, {"notes": json.dumps(notes)})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        kept = f"; {path} is as it was" if path.exists() else ""
        raise OSError(
            f"could not write {path} ({error}){kept}: free some disk space"
        ) from error


def read_tensors(path: Path, device="cpu") -> tuple[dict[str, Tensor], dict]:
    """Tensors and notes of `write_tensors`."""
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            notes = json.loads(file.metadata()["notes"])
            return {key: file.get_tensor(key) for key in file.keys()}, notes  # noqa: SIM118
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({error}): delete it to start again"
        ) from error


# --- several processes (torchrun) -----------------------------------------------------


def start_processes() -> tuple[int, int]:
    """Join `torchrun`'s process group if there is one; (rank, number of processes)."""
    if "RANK" in os.environ and not torch.distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend)
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return rank(), _world()


def share(index: Tensor) -> Tensor:
    """This process's equal share of a batch's indices ``(B,)``."""
    if len(index) % _world():
        raise ValueError(f"batch {len(index)} does not divide by {_world()} processes")
    return index[rank() :: _world()]


def _average_gradients(model: nn.Module) -> None:
    if _world() == 1:
        return
    for parameter in model.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= _world()


def rank() -> int:
    """This process's number under `torchrun`, else 0."""
    return torch.distributed.get_rank() if _distributed() else 0


def _world() -> int:
    return torch.distributed.get_world_size() if _distributed() else 1


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that a clock read after it is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
