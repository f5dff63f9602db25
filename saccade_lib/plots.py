"""The book's pictures: one house style, and the fixation strip.

A *fixation strip* shows where a model looked and what it saw there: the image with a
numbered box for each glimpse, coloured by time, and the crops below in frames of the
same colour and number. Numbers repeat what colours say, so nothing rests on colour.

Every function returns a figure that no window manager holds: a notebook shows it once,
as the value of its cell, and nothing needs closing. Backgrounds are opaque white,
because a transparent picture is unreadable on a dark page.
"""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import resources
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colormaps, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from saccade_lib import glimpse
from saccade_lib.explorer import check_picture
from saccade_lib.explorer import explorer as explorer  # plots.explorer for chapters

STYLE = rc_params_from_file(
    str(resources.files("saccade_lib") / "house.mplstyle"), use_default_template=False
)
# Colours in the order of time, dark blue to orange. Lightness rises steadily, so the
# order survives grey-scale print and colour blindness, and every one of them has a
# contrast of at least 3:1 on white.
TIME = tuple(to_hex(c) for c in colormaps["plasma"](np.linspace(0.05, 0.63, 8)))
# Colours without an order.
SERIES = tuple(STYLE["axes.prop_cycle"].by_key()["color"])
GREY, INK = "#666666", "#222222"
WIDTH = 6.0  # inches; 900 pixels, enough for the widest text column
LARGE = 2.8  # inches, the longer side of the one image of a strip
GAP = 0.2  # inches between pictures
CLOSE = 0.1  # inches between the crops of one image of a gallery


def use_style() -> None:
    """Make the house style the default of every later Matplotlib figure."""
    plt.rcParams.update(STYLE)


def time_colours(T: int) -> list[str]:
    """T hex colours evenly along `TIME`, from its first to its last."""
    ramp = LinearSegmentedColormap.from_list("time", TIME)
    return [to_hex(ramp(t / max(T - 1, 1))) for t in range(T)]


def _house(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house style, whatever the session's settings, and let go."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        before = set(plt.get_fignums())
        try:
            with plt.rc_context(STYLE):
                return draw(*args, **kwargs)
        finally:  # else a notebook would show the figure twice
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    return drawn


# ---- Fixation strips


@_house
def fixation_strip(
    image: Tensor,
    locations: Tensor,
    scales: Tensor | float,
    crops: Tensor | None = None,
    title: str | None = None,
    proxy: Tensor | None = None,
    size: int = 24,
) -> Figure:
    """One image with its numbered glimpse boxes, and the crops below.

    Args:
        image: ``(C, H, W)``, C = 1 or 3, values in [0, 1].
        locations: ``(T, 2)``, centres (x, y) in [-1, 1].
        scales: ``(T,)`` or a number, side of the window over side of the image; or
            ``(T, 2)`` with one scale an axis. A box may leave the image.
        crops: ``(T, C, L, L)``; cut from the image at ``size`` pixels if absent.
        title: stands above the image.
        proxy: ``(C, h, w)``, the small picture that the policy saw; drawn on the left.

    Raises:
        ValueError: a wrong shape, or a value out of its range.
    """
    crops = _check_glimpses(image, locations, scales, crops, size)
    if proxy is not None:
        check_picture(proxy, "proxy")
    per_row = min(len(crops), 5)
    crop_rows = math.ceil(len(crops) / per_row)
    small = min(1.0, (WIDTH - GAP) / per_row - GAP)
    top = 0.34 if title or proxy is not None else GAP
    H, W = image.shape[1:]
    width, height = LARGE * W / max(H, W), LARGE * H / max(H, W)
    below = top + height + 1.4 * GAP
    fig = plt.figure(figsize=(WIDTH, below + crop_rows * (small + GAP)))

    pictures = [(image, title)]
    if proxy is not None:
        pictures = [(proxy, "proxy"), (image, title or "image")]
    left = (WIDTH - len(pictures) * (width + GAP) + GAP) / 2
    for k, (picture, name) in enumerate(pictures):
        ax = _place(fig, left + k * (width + GAP), top, width, height)
        show_image(ax, picture, name)
    draw_boxes(ax, image.shape, locations, scales)
    left = (WIDTH - per_row * (small + GAP) + GAP) / 2
    _place_crops(fig, crops, left, below, small, GAP, per_row)
    return fig


@_house
def fixation_strips(
    images: Tensor,
    locations: Tensor,
    scales: Tensor | float,
    crops: Tensor | None = None,
    titles: Sequence[str] | None = None,
    proxies: Tensor | None = None,
    columns: int = 4,
    size: int = 24,
) -> Figure:
    """A gallery of fixation strips: in each column an image, its proxy, its crops.

    Args:
        images: ``(B, C, H, W)``, values in [0, 1].
        locations: ``(B, T, 2)``.
        scales: ``(B, T)`` or a number.
        crops: ``(B, T, C, L, L)``; cut at ``size`` pixels if absent.
        titles: B short texts.
        proxies: ``(B, C, h, w)``.
        columns: strips side by side; further images start a new band below.
    """
    B, T = locations.shape[:2]
    scales = torch.as_tensor(scales)
    scales = scales.expand(B) if scales.dim() == 0 else scales
    parts = {"images": images, "scales": scales, "crops": crops, "titles": titles}
    for name, part in (parts | {"proxies": proxies}).items():
        if part is not None and len(part) != B:
            raise ValueError(f"locations are for {B} images, {name} for {len(part)}")
    columns = min(columns, B)
    cell = min((WIDTH - GAP) / columns - GAP, 2.0)
    per_row = math.ceil(T / math.ceil(T / 3))
    small = (cell + CLOSE) / per_row - CLOSE
    top = 0.3 if titles is not None else GAP
    pictures = 1 if proxies is None else 2
    crop_rows = math.ceil(T / per_row)
    band = top + pictures * (cell + GAP) + crop_rows * (small + CLOSE) + GAP
    fig = plt.figure(figsize=(WIDTH, math.ceil(B / columns) * band))
    for b in range(B):
        cut = None if crops is None else crops[b]
        cut = _check_glimpses(images[b], locations[b], scales[b], cut, size)
        left = (WIDTH - columns * (cell + GAP) + GAP) / 2 + b % columns * (cell + GAP)
        y = b // columns * band + top
        ax = _place(fig, left, y, cell, cell)
        show_image(ax, images[b], None if titles is None else titles[b])
        draw_boxes(ax, images[b].shape, locations[b], scales[b], fontsize=7)
        if proxies is not None:
            check_picture(proxies[b], "proxy")
            y += cell + GAP
            show_image(_place(fig, left, y, cell, cell), proxies[b])
        y += cell + GAP
        _place_crops(fig, cut, left, y, small, CLOSE, per_row, fontsize=7)
    return fig


@_house
def pictures(
    images: Sequence[Tensor], titles: Sequence[str], columns: int = 4
) -> Figure:
    """Pictures ``(C, H, W)`` of any sizes side by side, each with its title."""
    if len(images) != len(titles):
        raise ValueError(f"{len(images)} images, but {len(titles)} titles")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    side = min(LARGE, (WIDTH - GAP) / columns - GAP)
    band = 0.3 + side + GAP
    fig = plt.figure(figsize=(columns * (side + GAP) + GAP, rows * band))
    for k, (image, title) in enumerate(zip(images, titles, strict=True)):
        check_picture(image, title)
        left, top = GAP + k % columns * (side + GAP), k // columns * band + 0.3
        show_image(_place(fig, left, top, side, side), image, title)
    return fig


def show_image(ax: Axes, image: Tensor, title: str | None = None) -> None:
    """Draw ``(C, H, W)`` so that axis units are pixels with borders at 0, W and H."""
    C, H, W = image.shape
    pixels = image.detach().cpu().float().permute(1, 2, 0).numpy()  # (H, W, C)
    pixels = pixels[..., 0] if C == 1 else pixels.clip(0, 1)
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, W, H, 0))
    ax.set(xticks=[], yticks=[], xlim=(0, W), ylim=(H, 0), title=title or "")
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=0.6, color=GREY)


def draw_boxes(
    ax: Axes,
    shape: Sequence[int],
    locations: Tensor,
    scales: Tensor | float,
    fontsize: float = 9,
) -> None:
    """Draw T numbered windows over an image of ``shape`` (…, H, W) by `show_image`.

    A white line around each box keeps the dark colours visible on a dark image.
    """
    H, W = shape[-2:]
    corners = glimpse.boxes(locations.detach().cpu().double(), scales, H, W)  # (T, 4)
    halo = [withStroke(linewidth=fontsize / 5 + 1.8, foreground="white")]
    taken: list[tuple[float, float]] = []
    for t, colour in enumerate(time_colours(len(corners))):
        x0, y0, x1, y1 = corners[t].tolist()
        box = Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=fontsize / 5
        )
        box.set(path_effects=halo, zorder=2 + t, joinstyle="miter")
        ax.add_patch(box)
        inside = [
            (min(max(x, 0), W), min(max(y, 0), H)) for x in (x0, x1) for y in (y0, y1)
        ]
        taken.append(_free_corner(inside, taken))
        _number(ax, *taken[-1], t, colour, fontsize, ax.transData)


def draw_grid(ax: Axes, shape: Sequence[int], at: Tensor, every: int = 1) -> None:
    """Draw a sampling grid ``(H, W, 2)`` of places over an image by `show_image`.

    Lines join every ``every``-th row and column of the places that are read.
    """
    H, W = shape[-2:]
    pixels = glimpse.to_pixels(at.detach().cpu().double(), H, W)[::every, ::every]
    for lines in (pixels, pixels.transpose(0, 1)):
        ax.plot(lines[..., 0].T, lines[..., 1].T, color=SERIES[1], lw=0.5)


def _free_corner(corners, taken):
    """The corner furthest from every number that stands already."""
    if not taken:
        return corners[0]
    return max(corners, key=lambda c: min(math.dist(c, other) for other in taken))


def _number(ax, x, y, t, colour, fontsize, transform) -> None:
    luminance = np.dot(np.power(to_rgb(colour), 2.2), [0.2126, 0.7152, 0.0722])
    ink = "white" if luminance < 0.18 else "black"  # at least 4.5:1 either way
    tag = {"boxstyle": "round,pad=0.2", "fc": colour, "ec": "white", "lw": 0.9}
    text = ax.text(x, y, str(t + 1), color=ink, transform=transform, bbox=tag)
    text.set(fontsize=fontsize, fontweight="bold", zorder=100 + t)
    text.set(ha="center", va="center_baseline")


def _place(fig: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes measured in inches from the figure's top left corner."""
    W, H = fig.get_size_inches()
    return fig.add_axes((left / W, 1 - (top + height) / H, width / W, height / H))


def _place_crops(fig, crops, left, top, side, gap, per_row, fontsize=9) -> None:
    for t, colour in enumerate(time_colours(len(crops))):
        row, column = divmod(t, per_row)
        x, y = left + column * (side + gap), top + row * (side + gap)
        ax = _place(fig, x, y, side, side)
        show_image(ax, crops[t])
        for spine in ax.spines.values():
            spine.set(linewidth=fontsize / 4, color=colour)
        _number(ax, 0, 1, t, colour, fontsize, ax.transAxes)


def _check_glimpses(image, locations, scales, crops, size) -> Tensor:
    """One image's glimpses are well formed; returns its crops, cut if absent."""
    check_picture(image)
    if locations.dim() != 2 or locations.shape[1] != 2 or len(locations) == 0:
        raise ValueError(f"locations must be (T, 2), got {tuple(locations.shape)}")
    if not locations.isfinite().all():
        raise ValueError("locations must be finite, got inf or nan")
    T = len(locations)
    scales = torch.as_tensor(scales, dtype=locations.dtype).detach().cpu()
    inside = (scales > 0) & (scales <= 1 + glimpse.SLACK)
    if scales.shape not in ((), (T,), (T, 2)) or not inside.all():
        raise ValueError(f"scales must be {T} numbers in (0, 1], got {scales.tolist()}")
    if crops is None:
        scales = scales[None] if scales.dim() else scales
        crops = glimpse.crop(
            image[None].cpu(), locations[None].detach().cpu(), scales, size, "zeros"
        )[0]
    if crops.dim() != 4 or len(crops) != T:
        raise ValueError(f"crops must be ({T}, C, L, L), got {tuple(crops.shape)}")
    return crops


# ---- Curves and bars


@_house
def learning_curves(
    curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    xlabel: str,
    ylabel: str,
    chance: float | None = None,
    printed: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> Figure:
    """Mean over seeds, in a band from the lowest to the highest seed.

    Args:
        curves: for each label the (x, y) of each seed. Seeds that were read at other
            x are interpolated, over the range that all of them cover.
        chance: the value of guessing, drawn as a dotted line.
        printed: for each label the (x, y) that a paper prints, drawn as marks.
    """
    fig, ax = plt.subplots(layout="constrained")
    looks = zip(cycle(SERIES), cycle(("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))))
    for (label, seeds), (colour, dash) in zip(curves.items(), looks, strict=False):
        x, ys = _common(label, seeds)  # (N,), (seeds, N)
        n = f"{len(ys)} seed" + "s" * (len(ys) > 1)
        ax.plot(x, ys.mean(0), color=colour, ls=dash, label=f"{label} ({n})")
        ax.fill_between(x, ys.min(0), ys.max(0), color=colour, alpha=0.2, lw=0)
    for (label, (x, y)), mark in zip(
        (printed or {}).items(), cycle("Ds^"), strict=False
    ):
        ax.plot(x, y, mark, color=INK, ms=6, label=label)
    if chance is not None:
        ax.axhline(chance, color=GREY, ls=":", lw=1.2, label="chance")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=_whole(curves)))
    ax.grid(axis="y")
    ax.legend()
    return fig


def _whole(curves) -> bool:
    """Whether every x is a whole number."""
    xs = [np.asarray(x, dtype=float) for seeds in curves.values() for x, _ in seeds]
    return all(np.equal(x, np.round(x)).all() for x in xs)


@_house
def trade_off(
    points: Mapping[str, Sequence[tuple[float, Sequence[float], str]]],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """What costs buy: for each label its points, joined, with a text at each.

    Args:
        points: for each label (cost, value of each seed, text) a point; the line joins
            the means, a bar reaches from the lowest to the highest seed.
    """
    fig, ax = plt.subplots(layout="constrained")
    marks = cycle(("o", "s", "^", "D", "v", "P"))
    for (label, of), colour, mark in zip(points.items(), cycle(SERIES), marks):
        if not of or not all(len(values) for _, values, _ in of):
            raise ValueError(f"{label!r} has no point, or one without a value")
        x = [cost for cost, _, _ in of]
        y = [float(np.mean(values)) for _, values, _ in of]
        ends = [(m - min(v), max(v) - m) for m, (_, v, _) in zip(y, of, strict=True)]
        look = {"fmt": mark, "ls": "-", "color": colour, "ms": 6, "capsize": 2}
        ax.errorbar(x, y, np.transpose(ends), label=label, **look)
        for at, mean, (_, _, text) in zip(x, y, of, strict=True):
            near = {"xytext": (4, 5), "textcoords": "offset points"}
            ax.annotate(text, (at, mean), color=colour, fontsize=8, **near)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(axis="y")
    ax.legend()
    return fig


@_house
def fronts(
    panels: Mapping[str, Mapping[str, tuple[float, Sequence[float]]]],
    best: Mapping[str, Sequence[str]],
    ylabel: str,
    chance: float | None = None,
) -> Figure:
    """What many methods reach at which cost: a panel a cost, on a logarithmic axis.

    Methods are numbered, in the order of the first panel; the legend says which is
    which. The line joins those of ``best``, in their order.

    Args:
        panels: for each kind of cost, by label the cost and the value of each seed.
        best: for each kind of cost, the labels on its front.
        chance: the value of guessing, drawn as a dotted line.
    """
    first = next(iter(panels.values()))
    numbers = {label: k for k, label in enumerate(first, start=1)}
    fig, axes = plt.subplots(
        2, math.ceil(len(panels) / 2), sharey=True, figsize=(7, 6.2)
    )
    fig.set_layout_engine("constrained")
    for ax, (kind, of) in zip(axes.flat, panels.items(), strict=True):
        at = {label: (x, float(np.mean(y))) for label, (x, y) in of.items()}
        line = np.array([at[label] for label in best[kind]])  # (N, 2)
        ax.plot(*line.T, color=SERIES[0], lw=1.2)
        for label, (x, y) in at.items():
            on = label in best[kind]
            ax.plot(x, y, "o", ms=5, color=SERIES[0] if on else GREY)
            near = {"xytext": (3, 3), "textcoords": "offset points", "fontsize": 8}
            ax.annotate(str(numbers[label]), (x, y), color=INK, **near)
        if chance is not None:
            ax.axhline(chance, color=GREY, ls=":", lw=1.2)
        ax.set(xscale="log", xlabel=kind)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=8))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="y")
    fig.supylabel(ylabel, fontsize=10)
    names = [f"{k}  {label}" for label, k in numbers.items()]
    blank = [plt.Line2D([], [], ls="") for _ in names]
    fig.legend(
        blank, names, loc="outside lower center", ncols=4, fontsize=8, handlelength=0
    )
    return fig


def _common(label, seeds):
    """One x for all seeds of a label: (N,) and (seeds, N)."""
    kept = []
    for x, y in seeds:
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"{label!r}: x has shape {x.shape}, y has shape {y.shape}")
        fine = np.isfinite(x) & np.isfinite(y)  # a record writes null for nan
        kept.append((x[fine], y[fine]))
    if not kept or any(len(x) == 0 for x, _ in kept):
        raise ValueError(f"{label!r}: a seed without a single finite point")
    low, high = max(x.min() for x, _ in kept), min(x.max() for x, _ in kept)
    if low > high:
        raise ValueError(f"{label!r}: the seeds share no range of x")
    x = np.unique(np.concatenate([x for x, _ in kept]))
    x = x[(low <= x) & (x <= high)]
    return x, np.stack([np.interp(x, *seed) for seed in kept])


@_house
def bars_with_spread(
    labels: Sequence[str],
    values_per_seed: Sequence[Sequence[float]],
    paper: Sequence[float | None] | None = None,
    xlabel: str = "",
    controls: Collection[str] = (),
    decimals: int = 1,
) -> Figure:
    """A bar for the mean of each row, a dot for each seed, a stroke for the paper.

    Args:
        labels: rows from top to bottom.
        values_per_seed: for each row one value a seed; an empty row has no record yet.
        paper: the printed number of each row, or None where none was printed.
        controls: labels drawn in grey, so that learned rows stand out.
    """
    paper = [None] * len(labels) if paper is None else list(paper)
    if not len(labels) == len(values_per_seed) == len(paper):
        raise ValueError(
            f"{len(labels)} labels, {len(values_per_seed)} rows of values and "
            f"{len(paper)} printed numbers: expected one of each a row"
        )
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.42 * len(labels)))
    fig.set_layout_engine("constrained")
    rows = zip(labels, values_per_seed, paper, strict=True)
    for y, (label, values, printed) in enumerate(rows):
        colour = GREY if label in controls else SERIES[0]
        mean = float(np.mean(values)) if len(values) else 0.0
        ax.barh(y, mean, height=0.62, color=colour, alpha=0.35)
        apart = y + np.linspace(-0.16, 0.16, len(values)) * (len(values) > 1)
        ax.plot(values, apart, "o", color=colour, ms=4.5, mec="white", mew=0.5)
        if printed is not None:
            ax.plot(printed, y, "|", color=INK, ms=18, mew=1.8, zorder=1.9)
        text = f"{mean:.{decimals}f}" if len(values) else "no record yet"
        end = max([mean, *values] + ([] if printed is None else [printed]))
        ax.annotate(text, (end, y), (8, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlabel=xlabel)
    ax.invert_yaxis()
    ax.margins(x=0.14)
    ax.tick_params(axis="y", length=0)
    keys = [Line2D([], [], marker="o", ls="", color=GREY, ms=5, label="one seed")]
    if any(printed is not None for printed in paper):
        stroke = {"marker": "|", "ms": 10, "mew": 1.8, "color": INK}
        keys.append(Line2D([], [], ls="", label="paper", **stroke))
    fig.legend(handles=keys, loc="outside upper right", ncols=2)
    return fig


@_house
def histograms(
    shares: Mapping[str, Sequence[float]], xlabel: str, ylabel: str = "share, %"
) -> Figure:
    """Shares of the classes 0, 1, ..., one panel a title, all on one scale."""
    if not shares or len({len(values) for values in shares.values()}) > 1:
        raise ValueError("expected one share a class, and as many in every panel")
    fig, axes = plt.subplots(
        ncols=len(shares),
        sharey=True,
        squeeze=False,
        figsize=(WIDTH, 2.4),
        layout="constrained",
    )
    for ax, (title, values) in zip(axes[0], shares.items(), strict=True):
        ax.bar(range(len(values)), values, color=SERIES[0])
        ax.set_title(title, loc="left")
        ax.set(xlabel=xlabel)
        ax.grid(axis="y")
    axes[0, 0].set_ylabel(ylabel)
    return fig


@_house
def loss_terms(
    curves: Mapping[str, Sequence[float]],
    terms: Sequence[str] | None = None,
    xlabel: str = "step",
) -> Figure:
    """The named terms of a loss, one panel each, since their sizes differ.

    Args:
        curves: a record's ``curves``: ``step`` and columns of the same length.
        terms: the columns to draw; all but ``step`` and ``seconds`` if absent.
    """
    if terms is None:
        terms = [name for name in curves if name not in ("step", "seconds")]
    missing = [name for name in ("step", *terms) if name not in curves]
    if missing or not terms:
        raise ValueError(f"no curve {missing}; the record has {sorted(curves)}")
    fig, axes = plt.subplots(
        len(terms),
        sharex=True,
        squeeze=False,
        figsize=(WIDTH, 0.6 + 1.2 * len(terms)),
        layout="constrained",
    )
    for ax, name in zip(axes[:, 0], terms, strict=True):
        x, y = _common(name, [(curves["step"], curves[name])])
        ax.plot(x, y[0])
        ax.set_title(name.replace("_", " "), loc="left")
        ax.grid(axis="y")
    ax.set_xlabel(xlabel)
    return fig
