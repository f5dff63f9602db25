"""What a saliency sampler adds to a task network: `python benchmarks/overhead.py`.

    python benchmarks/overhead.py --device cuda --batch 32

Forward and backward passes of a ResNet at 224 x 224, alone; with the sampler in front
of it, which reads images of 448 x 448 through given maps; and with the saliency network
as well. All in one process, in turn; the shortest of several times.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from saccade_lib import session, zoom, zoom_reading  # noqa: E402
from saccade_lib._compat import torchvision  # noqa: E402
from saccade_lib.models.zoom import (  # noqa: E402
    Config,
    SaliencyNetwork,
    SaliencySampler,
)
from saccade_lib.train import synchronise  # noqa: E402

SIDE, SOURCE = 224, 448


def ways(name: str, layers: int, batch: int, device: str) -> dict:
    """Name -> a call that makes one forward and backward pass."""
    torch.manual_seed(0)
    task = getattr(torchvision.models, name)(num_classes=1000)
    sampler = SaliencySampler(task, SaliencyNetwork(layers), Config((SIDE, SIDE))).to(
        device
    )
    images = torch.rand(batch, 3, SOURCE, SOURCE, device=device)
    small = torch.rand(batch, 3, SIDE, SIDE, device=device)
    cells = zoom.CODE_CELLS
    logits = torch.zeros(batch, cells, cells, device=device, requires_grad=True)

    def read():
        S = logits.flatten(1).softmax(dim=1).view_as(logits)
        at = zoom.positions(S, (SIDE, SIDE), zoom.CODE_SIGMA)
        return task(zoom_reading.warp(images, at))

    def backward(run, net: nn.Module = sampler) -> None:
        net.zero_grad(set_to_none=True)
        run().square().sum().backward()

    return {
        "with the sampler": lambda: backward(read),
        f"with the sampler and f_s, {layers} layers": lambda: backward(
            lambda: sampler(images)
        ),
        f"{name} alone": lambda: backward(lambda: task(small)),
    }


def seconds(call, device: torch.device) -> float:
    """By the process's own clock on a CPU, by the wall's on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    synchronise(device)
    start = clock()
    call()
    synchronise(device)
    return clock() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--task", default="resnet101")
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    calls = ways(asked.task, asked.layers, asked.batch, asked.device)
    times = {name: math.inf for name in calls}
    for _ in range(asked.repeats + 1):  # the first one warms up
        for name, call in calls.items():
            times[name] = min(times[name], seconds(call, device))
    base = list(times.values())[-1]
    name = session.hardware(asked.device)["name"]
    print(f"{name}, {asked.batch} images, {SOURCE} -> {SIDE}")
    for name, taken in times.items():
        print(f"  {name:40}{1e3 * taken:10.1f} ms{taken / base:8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
