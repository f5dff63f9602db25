"""Every method on the same images, with one budget: the rows of "One arena".

A task says what the images are, what a small copy (the proxy) and a window are, and how
many windows a method may read. Rows of a task differ in the method alone: they see the
same batches in the same order, as many of them, with the same optimiser, and are tested
on the same images; all are measured in the same way.
"""

import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import cost, glimpse
from saccade_lib import train as training
from saccade_lib.data import (
    birds,
    composite_parts,
    digits,
    door,
    mosaics,
    satellite,
    scattered,
    scenes,
)
from saccade_lib.data.taught import UNKNOWN
from saccade_lib.models import (
    attention_sampling,
    partial_supervision,
    patch_selection,
    recurrent_attention,
    saccader,
    tnet,
    variational_saccading,
    whole,
    wsram,
    zoom_classifier,
)
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.runs.experiment import Experiment, Stream, batches_of, is_right
from saccade_lib.session import one_of

TOLD = 10  # one image of so many comes with a place, where a row is told any
TIMED = 5  # times that inference is timed


@dataclass(frozen=True)
class Task:
    """Images, and what may be read of them.

    Attributes:
        data: ``"canvases"``, ``"mosaics"`` or ``"scenes"``.
        side: of the image, pixels.
        level: f; windows are read from the level of the pyramid that is f times
            smaller, S pixels a side.
        classes, channels: of the images.
        proxy: J, side of the small copy.
        size: L, side of a window, pixels of the level.
        glimpses: K.
        thing: side of the digit, or of the largest bird, pixels of the image.
    """

    data: str
    side: int
    level: int
    classes: int
    channels: int
    proxy: int
    size: int
    glimpses: int
    thing: int

    @property
    def seen(self) -> int:
        """S."""
        return self.side // self.level

    @property
    def scale(self) -> float:
        """Side of a window over that of the image."""
        return self.size / self.seen


CANVASES = Task("canvases", 128, 1, 10, 1, 32, 24, 3, thing=16)
TASKS = {
    "canvas-128": CANVASES,
    "canvas-512": replace(CANVASES, side=512, level=2, thing=32),
    "canvas-2528": replace(CANVASES, side=2528, level=8, thing=128),
    "mosaics": Task("mosaics", 144, 1, 4, 3, 48, 48, 3, thing=48),
    "scenes": Task("scenes", 256, 2, 9, 3, 32, 32, 3, thing=72),
}
CLUTTER = 12  # patches, of canvases


@dataclass(frozen=True, kw_only=True)
class OnArena(Experiment):
    """A row at one profile: a method on a task.

    Attributes:
        task: a key of `TASKS`.
        native: the method reads the image at its full size, not from a level.
        told: places that a method is told in training come with a tenth of the images.
        soft: windows of the pyramid's levels that fade at their borders.
    """

    task: str
    native: bool = False
    told: bool = False
    soft: bool = False

    code: ClassVar = (
        *(digits, scattered, mosaics, scenes),
        *(birds, satellite, composite_parts),
    )
    unit_of: ClassVar = {}

    def __post_init__(self):
        one_of("task", self.task, tuple(TASKS))

    @property
    def of(self) -> Task:
        return TASKS[self.task]

    @property
    def kept(self) -> bool:
        """Weights of one task are enough to draw where each method looks."""
        return self.task == "canvas-512"

    def find(self, quiet: bool) -> door.Source:
        if self.of.data == "mosaics":
            return satellite.find(quiet)
        if self.of.data == "scenes":
            return scenes.find(quiet)
        return door.mnist(quiet=quiet)

    def canvases(self, pack: door.Source, split: str, seed: int) -> "Arena":
        task = self.of
        if task.data == "canvases":
            images = scattered.Scattered(
                pack,
                "single",
                split,
                side=task.side,
                digit=task.thing,
                clutter=CLUTTER,
                level=1 if self.native else task.level,
                seed=seed,
            )
        elif task.data == "mosaics":
            images = mosaics.Mosaics(pack, split, side=task.side, seed=seed)
        else:
            images = scenes.Scenes(
                pack, split, side=task.side, bird=task.thing, seed=seed
            )
        if images.classes != task.classes:
            raise ValueError(
                f"{pack.note} have {images.classes} classes, but {self.task} has "
                f"{task.classes}"
            )
        return Arena(images, self, split == "train")

    def kind(self) -> type[nn.Module]:
        kind = super().kind()
        return ByWindows if self.soft else kind

    def evaluate(self, model, canvases: "Arena", count: int, device) -> dict:
        """``accuracy``, and where the method has windows ``hit_rate``: per cent of the
        images whose object has its centre in one of them."""
        right, hits = 0, []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for batch in batches_of(canvases, count, device, self.together):
                seen = model.predict(batch["image"], batch=batch)
                right += is_right(seen.probabilities, batch["label"])
                if hasattr(seen, "scale"):
                    hits.append(canvases.inside(seen, batch))
        found = {"accuracy": 100 * right / count}
        if hits:
            found["hit_rate"] = 100 * torch.cat(hits).float().mean().item()
        return found

    @property
    def together(self) -> int:
        """Images that are evaluated at a time: fewer of large ones."""
        return 2 if self.native and self.of.side > 1000 else 50

    def costs(self, model, canvases: "Arena", fit: training.Fit, device) -> dict:
        """What the arena compares, an image: see `measured`."""
        count = min(8, self.schedule.batch)
        batch = canvases.batch(torch.arange(count), device)
        found = measured(model, batch, device)
        entering, behind = pixels(self)
        found |= {
            "pixels": (entering / 1e3, "thousand"),
            "pixels_behind": (behind / 1e3, "thousand"),
            "images": (fit.images / 1e3, "thousand"),
            "train_cpu_seconds": (fit.cpu_seconds, "s"),
        }
        return {name: {"value": v, "unit": u} for name, (v, u) in found.items()}


@dataclass(frozen=True)
class Arena:
    """The images of a task, as a row's method takes them."""

    images: Stream
    row: OnArena
    training: bool

    @property
    def classes(self) -> int:
        return self.images.classes

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, C, S, S)``, ``label (B,)``, ``centre (B, 1, 2)``; what else the
        method needs."""
        found = self.images.batch(index, device)
        task = self.row.of
        if task.data == "scenes" and task.level > 1 and not self.row.native:
            found["image"] = F.avg_pool2d(found["image"], task.level)
        if self.row.told:
            found["places"] = self.places(index, found["centre"])
        if self.row.soft:
            x = found["image"]
            proxy = glimpse.downsample(x, task.proxy).clamp(0, 1)  # rounding
            found |= {"image": proxy, "proxy": proxy, "crop": partial(from_level, x)}
        return found

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        return self.images.hits(location, batch)

    def inside(self, seen, batch: dict) -> Tensor:
        """Whether the object's centre is in some window, ``(B,)``."""
        away = (seen.location - batch["centre"][:, :1]).abs().amax(dim=2)  # (B, T)
        return (away <= seen.scale).any(dim=1)

    def places(self, index: Tensor, centre: Tensor) -> Tensor:
        """Cells ``(B, T)`` nearest the object, of one image in `TOLD`; `UNKNOWN`."""
        config = self.row.model
        cells = recurrent_attention.Grid(config).cells  # (n * n, 2)
        near = torch.cdist(centre[:, 0].cpu(), cells).argmin(dim=1)  # (B,)
        known = (index.cpu() % TOLD == 0) & self.training
        near = torch.where(known, near, UNKNOWN).to(centre.device)
        return near[:, None].expand(-1, config.glimpses)


def from_level(image: Tensor, location: Tensor, scale: Tensor, size: int) -> Tensor:
    """Windows ``(B, T, C, L, L)`` read from the level of the pyramid that still has L
    pixels across them, fading to zero at their borders as a cosine."""
    side, factor = image.shape[-1], 1
    while 2 * factor * size <= float(scale.detach().min()) * side + 1e-3:
        factor *= 2
    if factor > 1:
        image = F.avg_pool2d(image, factor)
    o = glimpse.crop(image, location, scale, size)
    fade = torch.cos(glimpse.pixel_centres(size).to(o) * torch.pi / 2)  # (L,)
    return o * fade[:, None] * fade


def measured(model: nn.Module, batch: dict, device) -> dict[str, tuple[float, str]]:
    """Costs of an image: multiplications, memory, time, parameters.

    Memory is the most that tensors made on the way occupy, per image of the batch,
    besides the image itself: of inference, and of a training step. Time is this
    process's own, the median of `TIMED` calls. The model is left as it was found.
    """
    state = {k: v.clone() for k, v in model.state_dict().items()}
    count = len(batch["label"])

    def infer() -> None:
        model.predict(batch["image"], batch=batch)

    def step() -> None:
        model.loss(batch).total.backward()

    model.train()
    training_peak = cost.peak_tensors(step) / count
    model.zero_grad(set_to_none=True)
    model.load_state_dict(state)
    model.eval()
    multiplied = cost.multiplications(infer) / count
    peak = cost.peak_tensors(infer) / count
    return {
        "parameters": (cost.parameters(model) / 1e6, "M"),
        "multiplications": (multiplied / 1e6, "M"),
        "inference_memory": (peak / cost.MIB, "MiB"),
        "training_memory": (training_peak / cost.MIB, "MiB"),
        "inference_seconds": (seconds(infer, device) / count, "s"),
    }


def seconds(run, device) -> float:
    """Of a call, in one thread; on a CPU the process's own."""
    clock = time.process_time
    if torch.device(device).type != "cpu":
        clock = time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run()
        taken = []
        for _ in range(TIMED):
            training.synchronise(torch.device(device))
            start = clock()
            run()
            training.synchronise(torch.device(device))
            taken.append(clock() - start)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(taken)


def pixels(row: OnArena) -> tuple[int, int]:
    """Pixels an image that enter a network, and pixels of the image behind them.

    A pixel of a small copy is one that enters, and stands for all that were averaged
    in it: with a small copy every pixel of the image is behind. Windows are counted as
    if none overlapped.
    """
    task, config = row.of, row.model
    all_of_it = task.side**2
    windows = task.glimpses * task.size**2
    if isinstance(config, whole.Config):
        return (config.side or (all_of_it**0.5 if row.native else task.seen)) ** 2, (
            all_of_it
        )
    if isinstance(config, saccader.Config):
        return (task.side if row.native else task.seen) ** 2, all_of_it
    if isinstance(config, whole.TilesConfig | patch_selection.Config):
        return len(whole.tiling(config.scale)) * config.size**2, all_of_it
    if isinstance(config, zoom_classifier.ClassifierConfig):
        height, width = config.size
        return config.look**2 + height * width, all_of_it
    if isinstance(config, tnet.Config):
        k, read = 1, 1
        for n in config.locations:
            k *= n
            read += k
        return read * config.base**2, all_of_it
    if isinstance(config, variational_saccading.Config) and config.places != "learned":
        return windows, windows * task.level**2
    if isinstance(config, recurrent_attention.Config) and not config.context:
        coarse = sum(4**k for k in range(config.scales))
        return windows * config.scales, min(all_of_it, windows * coarse * task.level**2)
    assert isinstance(
        config,
        variational_saccading.Config
        | attention_sampling.Config
        | recurrent_attention.Config
        | wsram.Config
        | partial_supervision.Config,
    )
    return task.proxy**2 + windows, all_of_it
