"""Many images on disk: batches of windows, read in parallel and ahead of their use."""

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib import glimpse
from saccade_lib.pyramid.reading import HANDLES, INHERITED, WHOLE, Pyramid, PyramidError
from saccade_lib.pyramid.windows import Level, cut


class Pyramids:
    """Many images on disk, of which a batch is read at once, in parallel.

    Safe to share between threads, forks and spawned processes; only ``open_files`` of
    them are open at a time.

    Args:
        paths: of the files.
        threads: that read beside each other.
        open_files: handles kept open, the least recently used closed first.
        whole: as of `Pyramid`.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        threads: int = 4,
        open_files: int = 64,
        whole: int = WHOLE,
    ):
        if threads < 1 or open_files < 1:
            raise ValueError(
                f"threads and open_files must be at least 1: {threads}, {open_files}"
            )
        self.paths = [Path(path) for path in paths]
        self._settings = threads, open_files, whole
        self._about: dict[int, _About] = {}
        self._fresh()
        HANDLES.add(self)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the first image, which `read` wants all to have."""
        return self.about(0).shape

    def about(self, index: int) -> "_About":
        """Channels, levels and shape of one image, kept once it was opened."""
        if index not in self._about:
            self.file(index)
        return self._about[index]

    def file(self, index: int) -> Pyramid:
        """The open file of one image."""
        with self._lock:
            if index in self._open:
                self._open.move_to_end(index)
                return self._open[index]
        _, open_files, whole = self._settings
        path = self.paths[index]
        made = Pyramid(path, whole)
        self._about[index] = _About(path, made.channels, made.levels, made.shape)
        with self._lock:
            made = self._open.setdefault(index, made)
            while len(self._open) > open_files:
                self._open.popitem(last=False)
        return made

    def map(self, call: Callable, *arguments: Iterable) -> Iterator:
        """Like `map`, on this store's threads."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._settings[0], "pyramid")
        return self._pool.map(call, *arguments)

    def read(self, index: int, left: int, top: int, width: int, height: int) -> Tensor:
        """A part of an image at full size, ``(C, height, width)`` in [0, 1].

        A `glimpse.Reader`. Raises PyramidError where the image has another shape than
        the first, for which the caller has reckoned its windows.
        """
        if self.about(index).shape != self.shape:
            (h, w), (H, W) = self.about(index).shape, self.shape
            raise PyramidError(
                f"{self.paths[index]} has {w} x {h} pixels, {self.paths[0]} {W} x {H}: "
                "a reader's images must be of one size (`crop` takes several)"
            )
        return self.file(index).region(0, left, top, width, height).float() / 255

    def reader(self, index: Tensor) -> glimpse.Reader:
        """`read` for a batch: its image b is the store's image ``index[b]``."""
        index = index.tolist()
        return lambda b, *box: self.read(index[b], *box)

    def regions(self, index: Tensor) -> glimpse.Regions:
        """A batch to read squares of, at full size: a TNet takes it for images."""
        C, (H, W) = self.about(0).channels, self.shape
        return glimpse.Regions(self.reader(index), (len(index), C, H, W), self.map)

    def crop(
        self,
        index: Tensor,
        location: Tensor,
        scale: Tensor | float,
        size: int,
        outside: str = "error",
    ) -> Tensor:
        """The windows of a batch, each from the coarsest level that has the resolution.

        Where a window is wider than its crop, `glimpse.crop` of the full image skips
        pixels; here a level is read in which a crop's pixel is between one and two
        wide. At full resolution both are equal.

        Args:
            index: ``(B,)``, which images.
            location, scale, size, outside: as in `glimpse.crop`.

        Returns:
            ``(B, T, C, L, L)``, with a gradient to ``location`` and ``scale``.
        """
        index = index.tolist()
        about = list(self.map(self.about, index))
        if len({a.channels for a in about}) > 1:
            grey = min(about, key=lambda a: a.channels).path
            raise PyramidError(f"{grey} is grey, others of its batch are in colour")

        def read(b, level, *box):
            return self.file(index[b]).region(level, *box)

        return cut(about, read, location, scale, size, outside, self.map)

    def proxies(self, index: Tensor, side: int) -> Tensor:
        """`Pyramid.proxy` of a batch: ``(B, C, side, side)``."""
        made = self.map(lambda i: self.file(i).proxy(side), index.tolist())
        return torch.stack(list(made))

    def close(self) -> None:
        """Close all files and end the threads; a later read opens what it needs."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._open.clear()
        if pool is not None:
            pool.shutdown()

    def __enter__(self) -> "Pyramids":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __getstate__(self) -> dict:
        return {"paths": self.paths, "settings": self._settings}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["paths"], *state["settings"])

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Pyramid] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def _start_anew(self) -> None:
        INHERITED.append((self._open, self._pool))
        self._fresh()


@dataclass(frozen=True)
class _About:
    path: Path
    channels: int
    levels: tuple[Level, ...]
    shape: tuple[int, int]


def prefetch(batches: Iterable, depth: int = 2) -> Iterator:
    """The same batches, made by a thread while the one before is being used.

    In an open loop all places are known from the proxy alone, so the crops of the next
    batch can be read while the network works on this one. At most ``depth`` batches
    are made ahead. An error in making one is raised where that batch is asked for.
    Leaving the loop, or closing the iterator, ends the thread.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _ahead(batches, depth)


def _ahead(batches: Iterable, depth: int) -> Iterator:
    room, ready = threading.Semaphore(depth), queue.SimpleQueue()
    stop = threading.Event()

    def fill() -> None:
        try:
            source = iter(batches)
            while room.acquire() and not stop.is_set():
                ready.put((next(source), None))
        except StopIteration:
            ready.put((None, StopIteration()))
        except BaseException as error:
            ready.put((None, error))

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            batch, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield batch
            room.release()
    finally:
        stop.set()
        room.release()
        thread.join()
