"""What training will take, known before it starts: a few real steps, and arithmetic."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from saccade_lib import cost
from saccade_lib.data import prepared
from saccade_lib.data.folders import Folder, Picture
from saccade_lib.models.looking import Looking
from saccade_lib.own_images.decisions import Decisions, checked
from saccade_lib.train import synchronise

SAMPLE = 24  # images that are copied and read for it, at most
ENOUGH = 2**28  # pixels, after which no further image is taken
STEPS = 4  # that are timed, after one to warm up


@dataclass(frozen=True)
class Budget:
    """What a training run takes.

    Attributes:
        seconds: by part: "copies", "training", "judging", "controls"; wall time here.
        cpu_seconds: of all parts, of this process.
        memory: bytes, beside the program itself.
        disk: bytes of copies that are not there yet, at most.
        pixels: of one image that are read for its proxy and glimpses, on average.
        of: pixels of an image, on average.
    """

    seconds: dict[str, float]
    cpu_seconds: float
    memory: int
    disk: int
    pixels: float
    of: float

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{k} {_time(v)}" for k, v in self.seconds.items() if v)
        return "\n".join(
            (
                f"time     {_time(self.total)} ({parts})",
                f"memory   {self.memory / cost.MIB:,.0f} MiB beside the program",
                f"disk     {self.disk / cost.MIB:,.0f} MiB of copies at most",
                f"reading  {self.pixels:,.0f} of an image's {self.of:,.0f} pixels, "
                f"{self.pixels / self.of:.1%}",
            )
        )


def estimate(
    folder: Folder,
    decisions: Decisions,
    cache: str | Path | None = None,
    device: str | torch.device | None = None,
) -> Budget:
    """Time a few images and steps on this machine, and reckon the rest.

    Copies of the images that it times are made in the cache, where training finds them.
    """
    checked(folder, decisions)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    to = Path(cache or prepared.cache())
    sample = _sample(folder)
    copying, pack = _clock(lambda: prepared.prepare(sample, to, whole=folder))
    proxies, _ = _clock(lambda: pack.proxies(decisions.proxy))
    first, step, judge, activations = _step(pack, decisions, device)
    share = len(folder.pictures) / len(sample.pictures)
    rest = _left(folder, to) / max(1, _pixels(sample.pictures))
    rows = 1 + len(decisions.controls)
    schedule = decisions.schedule()
    times = math.ceil(schedule.steps / schedule.validate_every) + 1
    judged = times * len(folder.of("validation")) + 2 * len(folder.of("test"))
    parts = {
        "copies": [
            a * rest + (b + c) * share
            for a, b, c in zip(copying, proxies, first, strict=True)
        ],
        "training": [a * decisions.steps for a in step],
        "judging": [a * judged for a in judge],
    }
    one_row = [a + b for a, b in zip(parts["training"], parts["judging"], strict=True)]
    parts["controls"] = [a * (rows - 1) for a in one_row]
    weights = sum(p.numel() for p in _model(pack, decisions).parameters())
    return Budget(
        seconds={name: both[0] for name, both in parts.items()},
        cpu_seconds=sum(both[1] for both in parts.values()),
        memory=_memory(folder, decisions, activations, weights),
        disk=int(3 * prepared.LEVELS * _left(folder, to)),
        pixels=_read(folder, decisions),
        of=_pixels(folder.pictures) / len(folder.pictures),
    )


def _sample(folder: Folder) -> Folder:
    """Some pictures of training, evenly over the folder, all called training."""
    known = folder.of("train")
    step = max(1, len(known) // SAMPLE)
    taken = known[::step][:SAMPLE]
    while len(taken) > 2 and _pixels(taken) > ENOUGH:
        taken.pop()
    return replace(folder, pictures=tuple(taken))


def _model(pack: prepared.Prepared, decisions: Decisions) -> Looking:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(decisions.seed)
        return Looking(decisions.model(len(pack.folder.classes)))


def _step(pack, decisions: Decisions, device) -> tuple[list, list, list, int]:
    """Seconds, wall and CPU, of decoding what is held, of a step, and of judging an
    image; bytes of activations.
    """
    model = _model(pack, decisions).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-9)
    views = prepared.Views(pack, "train", decisions.proxy, decisions.mirror)
    index = torch.arange(decisions.batch)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        model.loss(views.batch(index, device)).total.backward()
        optimiser.step()
        synchronise(device)

    def judge() -> None:
        batch = views.batch(index, device)
        model.predict(batch["image"], batch=batch)

    with torch.random.fork_rng(devices=[]):
        first, _ = _clock(judge)
        batch = views.batch(index, device)
        activations = cost.saved_activations(lambda: model.loss(batch), model)
        step()
        steps, _ = _clock(lambda: [step() for _ in range(STEPS)])
        judged, _ = _clock(lambda: [judge() for _ in range(STEPS)])
    per_image = STEPS * decisions.batch
    judged = [a / per_image for a in judged]
    return first, [a / STEPS for a in steps], judged, activations


def _clock(run: Callable) -> tuple[list[float], object]:
    """Wall and CPU seconds of a call, and what it gives."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = run()
    return [time.perf_counter() - wall, time.process_time() - cpu], made


def _pixels(pictures: tuple[Picture, ...]) -> int:
    return sum(picture.header.pixels for picture in pictures)


def _left(folder: Folder, to: Path) -> int:
    """Pixels of the images whose copies are not there yet."""
    total = prepared.bytes_of_copies(folder.pictures)
    return sum(
        picture.header.pixels
        for picture in prepared.copied(folder.pictures)
        if not prepared.target(picture.path, picture.header, to, total).exists()
    )


def _memory(folder, decisions: Decisions, activations: int, weights: int) -> int:
    """Proxies, images that are held, activations, weights with gradient and moments."""
    proxies = 4 * 3 * decisions.proxy**2 * len(folder.pictures)
    held = prepared.bytes_held(folder.pictures)
    return proxies + held + activations + 4 * 4 * weights


def _read(folder: Folder, decisions: Decisions) -> float:
    """Pixels of some level, on average: windows, and the level of the proxy."""
    total = 0.0
    for picture in folder.pictures:
        at, s = picture.header, decisions.scale
        fits = s * at.short / decisions.size
        factor = 2 ** max(0, math.floor(math.log2(max(fits, 1))))
        total += decisions.glimpses * s**2 * at.pixels / factor**2
        factor = 2 ** max(0, math.floor(math.log2(at.short / (2 * decisions.proxy))))
        total += at.pixels / factor**2
    return total / len(folder.pictures)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
