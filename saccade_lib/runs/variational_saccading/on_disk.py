"""Appendix 7.4, measured: what a glimpse costs when the image stays on disk.

For each side K an image of K x K grey pixels is written as a pyramid file, strip by
strip, so that it is never in memory, and read by a process of its own, whose peak
memory is therefore that of reading. A glimpse here is an *aligned* one: it lies within
a single tile. Every read is checked against the formula that made the picture.

Times are the process's CPU seconds, which neighbours on the machine hardly change, and
wall seconds beside them. Each file is opened anew for every round, in which each tile
is read at most once, so that no read is served from decoded tiles.
"""

import multiprocessing
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyvips
import torch

from saccade_lib import pyramid
from saccade_lib.data.digits import uniforms
from saccade_lib.runs.measurement import Measured, Measurement

MARGIN = 4  # pixels of a tile around an aligned glimpse
BYTES_A_PIXEL = 1.0  # of disk, at most: the file, its levels, and their temporaries
CLOCKS = ("", "_wall")  # CPU seconds; wall seconds
NEAR = 6 / 255  # mean error that JPEG may leave in a glimpse


@dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
        sides: K.
        glimpse: side of a glimpse, pixels.
        reads: glimpses a round; there must be as many tiles.
        rounds: how often each file is opened.
        whole: sides up to which decoding a whole JPEG is measured beside it.
    """

    sides: tuple[int, ...]
    glimpse: int = 64
    reads: int = 16
    rounds: int = 12
    whole: int = 16_384


def picture(top: int, rows: int, side: int) -> np.ndarray:
    """Rows of a picture of any side: waves, and a fine texture; uint8 ``(rows, K)``."""
    x, y = np.arange(side), np.arange(top, top + rows)
    across = (70 + 60 * np.sin(x / 97)).astype(np.uint8)
    down = (70 + 60 * np.sin(y / 131)).astype(np.uint8)
    texture = np.random.default_rng(0).integers(0, 16, (64, 64), dtype=np.uint8)
    fine = texture[y % 64][:, x % 64]  # (rows, K)
    return fine + across + down[:, None]


def strips(side: int) -> Iterator[np.ndarray]:
    """The picture from top to bottom, a row of tiles at a time."""
    for top in range(0, side, pyramid.TILE):
        yield picture(top, min(pyramid.TILE, side - top), side)


def corners(config: Config, side: int, seed: int) -> list[tuple[int, int]]:
    """Left and top of aligned glimpses in as many different tiles."""
    across = side // pyramid.TILE
    u = uniforms(seed, 0, torch.arange(config.reads), 2)  # (reads, 2)
    step = max(1, across * across // config.reads)
    tile = torch.arange(config.reads) * step + int(u[0, 0] * step)
    slack = pyramid.TILE - config.glimpse - 2 * MARGIN
    inside = MARGIN + (u * slack).long()  # (reads, 2)
    at = torch.stack((tile % across, tile // across), dim=1) * pyramid.TILE + inside
    return [tuple(corner) for corner in at.tolist()]


def measure(config: Config, seed: int, device: torch.device, folder: Path) -> Measured:
    """Write the files, read them in processes of their own, and remove them."""
    check_space(max(config.sides), folder)
    work = folder / "images"
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        for side in config.sides:
            rows.append(_one_side(config, side, seed, work))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _summed_up(rows)


def check_space(side: int, folder: Path) -> None:
    """Raise OSError unless the largest file fits."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = BYTES_A_PIXEL * side**2, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"an image of {side} x {side} may need {needed / 2**30:.1f} GiB in "
            f"{folder}, where {free / 2**30:.1f} GiB are free: make room there"
        )


def _one_side(config: Config, side: int, seed: int, work: Path) -> dict:
    path = work / f"{side}.tif"
    clock = time.process_time()
    pyramid.write(path, strips(side), size=(side, side))
    row = {"side": side, "write": time.process_time() - clock}
    row["file_mib"] = path.stat().st_size / 2**20
    row["pixels_mib"] = side**2 / 2**20
    row |= alone(read_glimpses, path, config, seed)
    row |= {"whole": None, "whole_wall": None, "whole_peak_mib": None}
    if side <= config.whole:
        jpeg = work / f"{side}.jpg"
        pyvips.Image.new_from_file(str(path), access="sequential").jpegsave(
            str(jpeg), Q=85
        )
        row |= alone(read_whole, jpeg, replace(config, rounds=3), seed)
        jpeg.unlink()
    path.unlink()
    return row


def alone(read: Callable, path: Path, config: Config, seed: int) -> dict:
    """``read(path, config, seed)`` in a process of its own, for its peak memory."""
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in ways else "spawn"
    )
    context.set_forkserver_preload([__name__])  # imported once, not by every child
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(read, path, config, seed).result()


def read_glimpses(path: Path, config: Config, seed: int) -> dict:
    """Medians, in seconds: opening a file, regions and crops, and open with region."""
    torch.set_num_threads(1)
    times = {"open": [], "crop": [], "region": [], "cold": []}
    for turn in range(config.rounds):
        for what in ("region", "crop"):
            began = start = _clocks()
            image = pyramid.open(path)
            times["open"].append(_since(start))
            for n, (left, top) in enumerate(
                corners(config, image.shape[1], seed + turn)
            ):
                start = _clocks()
                seen = _read(image, what, left, top, config.glimpse)
                times[what].append(_since(start))
                if what == "region" and n == 0:  # what a file costs that was not open
                    times["cold"].append(_since(began))
                _check(seen, left, top, image.shape[1])
            del image
    found = {}
    for what, pairs in times.items():
        for k, clock in enumerate(CLOCKS):
            found[what + clock] = statistics.median(pair[k] for pair in pairs)
    return found | {"peak_mib": _peak()}


def read_whole(path: Path, config: Config, seed: int) -> dict:
    """The same glimpse from a JPEG, which has to be decoded from its beginning."""
    torch.set_num_threads(1)
    pairs = []
    for _ in range(config.rounds):
        start = _clocks()
        image = pyramid.open(path, whole=2**40)
        side = image.shape[1]
        left = top = side - pyramid.TILE + MARGIN  # near the end of the file
        seen = _read(image, "crop", left, top, config.glimpse)
        pairs.append(_since(start))
        _check(seen, left, top, side)
    cpu, wall = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
    return {"whole": cpu, "whole_wall": wall, "whole_peak_mib": _peak()}


def _read(image: pyramid.Pyramid, what: str, left: int, top: int, size: int):
    """A glimpse as pixels ``(L, L)`` in [0, 1]."""
    if what == "region":
        return image.region(0, left, top, size, size)[0].float() / 255
    side = image.shape[1]
    centre = torch.tensor([[left, top]], dtype=torch.float64) + size / 2
    return image.crop(centre * 2 / side - 1, size / side, size)[0, 0]


def _check(seen: torch.Tensor, left: int, top: int, side: int) -> None:
    size = len(seen)
    made = picture(top, size, side)[:, left : left + size].astype(np.float32) / 255
    off = float((seen - torch.from_numpy(made)).abs().mean())
    if not off < NEAR:
        raise AssertionError(
            f"the glimpse at ({left}, {top}) of {side} is off by {off}"
        )


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _since(start: tuple[float, float]) -> tuple[float, float]:
    return tuple(now - then for now, then in zip(_clocks(), start, strict=True))


def _peak() -> float:
    """Largest resident memory of this process so far, MiB (Linux counts in KiB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


MILLI = [
    what + clock for what in ("open", "region", "crop", "cold") for clock in CLOCKS
]


def _summed_up(rows: list[dict]) -> Measured:
    for row in rows:
        row |= {name: 1e3 * row[name] for name in MILLI}  # milliseconds
    first, last = rows[0], rows[-1]
    both = [row for row in rows if row["whole"] is not None]
    metrics = {
        "crop_time_ratio": (last["crop"] / first["crop"], "×"),
        "region_time_ratio": (last["region"] / first["region"], "×"),
        "cold_time_ratio": (last["cold"] / first["cold"], "×"),
        "pixel_ratio": (last["pixels_mib"] / first["pixels_mib"], "×"),
        "peak_growth": (last["peak_mib"] - first["peak_mib"], "MiB"),
    }
    costs = {
        "crop_time": (last["crop"], "ms"),
        "crop_time_wall": (last["crop_wall"], "ms"),
        "region_time": (last["region"], "ms"),
        "cold_time": (last["cold"], "ms"),
        "peak_memory": (last["peak_mib"], "MiB"),
        "pixels": (last["pixels_mib"], "MiB"),
        "file": (last["file_mib"], "MiB"),
    }
    if both:
        costs["whole_time"] = (both[-1]["whole"], "s")
        costs["whole_time_wall"] = (both[-1]["whole_wall"], "s")
        costs["whole_peak_memory"] = (both[-1]["whole_peak_mib"], "MiB")
        ratio = 1e3 * both[-1]["whole"] / both[-1]["crop"]
        metrics["whole_over_crop"] = (ratio, "×")
    return Measured(
        metrics={k: {"value": v, "unit": u} for k, (v, u) in metrics.items()},
        costs={k: {"value": v, "unit": u} for k, (v, u) in costs.items()},
        curves={name: [row[name] for row in rows] for name in rows[0]},
    )


ROWS = {
    "on-disk-glimpse": {
        "quick": Measurement(
            measure,
            Config((1024, 2048, 4096), rounds=3, whole=4096),
            seeds=(0,),
        ),
        "standard": Measurement(
            measure, Config((1024, 2048, 4096, 8192, 16_384, 32_768, 65_536))
        ),
    }
}
