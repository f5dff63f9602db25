"""What a model costs: parameters, multiplications, memory, time."""

import statistics
import time
import weakref
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from saccade_lib.train import synchronise

MIB = 2**20


def parameters(model: nn.Module, statistics: bool = False) -> int:
    """Number of trainable numbers.

    Args:
        statistics: count the moving means and variances of batch normalisation too, as
            TensorFlow reports them.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    moving = sum(m.running_mean.numel() + m.running_var.numel() for m in norms)
    return trained + moving * statistics


def multiplications(run: Callable[[], object]) -> int:
    """Multiply-adds of the convolutions and matrix products that a call makes.

    torch counts two operations a multiply-add; this is half its count. Not counted:
    `grid_sample`, normalisations, activations, and `nn.LSTM` on the CPU, whose fused
    kernel torch does not see (an `nn.LSTMCell` is seen).
    """
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def outputs(run: Callable[[], object], model: nn.Module, kind: type[nn.Module]) -> int:
    """Numbers that the modules of one kind give out during a call.

    A module that multiplies each number by a factor, such as squeeze and excitation,
    makes so many multiplications that `multiplications` does not count.
    """
    seen = []

    def note(module, inputs, output):
        seen.append(output.numel())

    hooks = [
        m.register_forward_hook(note) for m in model.modules() if isinstance(m, kind)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return sum(seen)


class Seen(NamedTuple):
    """What the places of a map depend on, in pixels of the image.

    Attributes:
        side: of the map.
        field: side of the square of pixels that reach one place: its receptive field.
        step: from the square of one place to that of the next.
        first: middle of the first place's square, from the border of the image.
    """

    side: int
    field: int
    step: int
    first: float


def receptive_fields(layers: Iterable[tuple[int, int, int]], side: int) -> list[Seen]:
    """What a chain of convolutions makes of an image, layer by layer.

    Args:
        layers: kernel, stride and padding (at each border) of each.
        side: of the image, pixels.
    """
    at, found = Seen(side, 1, 1, 0.5), []
    for kernel, stride, padding in layers:
        at = Seen(
            (at.side + 2 * padding - kernel) // stride + 1,
            at.field + (kernel - 1) * at.step,
            at.step * stride,
            at.first + ((kernel - 1) / 2 - padding) * at.step,
        )
        found.append(at)
    return found


def saved_activations(run: Callable[[], object], model: nn.Module) -> int:
    """Bytes that autograd keeps for the backward pass of a call, weights excluded.

    Each storage counts once, however many tensors view it. Works on any device, and
    is exact where the device's own peak also holds workspaces and fragments.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}
    alive = []  # a freed storage's address may be used again

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = run()
    del result
    return sum(seen.values())


def peak_tensors(run: Callable[[], object]) -> int:
    """Most bytes that the tensors made during a call occupy at the same time.

    Exact and the same on any device, ``meta`` included, where nothing is computed. Not
    counted: what was there before, and what kernels allocate for themselves.
    """
    with _Alive() as alive:
        run()
    return alive.peak


class _Alive(TorchDispatchMode):
    """Bytes of the storages that live, from the outputs of all operations."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {id(s) for s in map(_storage, tree_leaves((args, kwargs))) if s}
        made = func(*args, **(kwargs or {}))
        for storage in map(_storage, tree_leaves(made)):
            if storage is None or id(storage) in self.known | given:
                continue
            self.known.add(id(storage))
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, id(storage), storage.nbytes())
        return made

    def _freed(self, key: int, count: int) -> None:
        self.known.discard(key)
        self.now -= count


def _storage(value: object) -> torch.UntypedStorage | None:
    return value.untyped_storage() if isinstance(value, torch.Tensor) else None


def peak_device_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Peak bytes that torch allocates on a GPU during a call; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device)


def seconds(run: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Median wall time of a call, after one call to warm up."""
    run()
    times = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
