"""The map of the ideas: what each method raises, by which rule, and what it reads.

`METHODS` is the map, `BOUNDS` and `RULES` are its two axes. Nothing here is taken on
trust: chapter 61 and the tests hold every entry against sums over a `toy_methods.World`
and against the networks of `models`, so that a wrong one fails.
"""

from collections.abc import Callable
from textwrap import wrap
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from saccade_lib import plots
from saccade_lib import toy_methods as toy
from saccade_lib.session import one_of

BELOW, EQUAL, NONE = "below", "equal", "no order"
ENOUGH = 1e-9  # nats; what is smaller is rounding


class Bound(NamedTuple):
    """What is raised.

    Attributes:
        title: as on the map.
        formula: in plain text.
        order: its value against the log-likelihood of what is known, ``"below"``,
            ``"equal"`` or ``"no order"``.
    """

    title: str
    formula: str
    order: str


class Way(NamedTuple):
    """How it is raised.

    Attributes:
        title: as on the map.
        rules: names in `toy_rules` that stand for it; none where places are no table.
    """

    title: str
    rules: tuple[str, ...]


class Source(NamedTuple):
    """What a policy reads before it chooses; a letter and a colour for it."""

    title: str
    letter: str
    colour: str


class Method(NamedTuple):
    """One line of the map.

    Attributes:
        name: as in the book.
        chapter: where it is derived.
        derived: the key in `BOUNDS` of what its paper starts from.
        raised: the key of what its training raises in the policy.
        rule: the key in `RULES` of how.
        reads: the key in `READS` of what the policy reads before a choice.
    """

    name: str
    chapter: str
    derived: str
    raised: str
    rule: str
    reads: str


BOUNDS = {
    "features": Bound("class of mean features", "log f(E v)", NONE),
    "likelihood": Bound("likelihood", "log p(y | x)", EQUAL),
    "importance": Bound("K weighted draws", "E log mean w", BELOW),
    "jensen": Bound("Jensen's bound", "E log p(y | l)", BELOW),
    "elbo": Bound("and the copy's bound", "E log p(y | l) + ELBO", BELOW),
    "reweighted": Bound("weighted, multiplied", "E log p(y | l) + β ELBO", NONE),
    "reward": Bound("reward", "E R", NONE),
    "told": Bound("told places", "log π(l*)", NONE),
    "entropy": Bound("expected entropy", "− EPE(l)", NONE),
}
RULES = {
    "crop": Way("slope of a crop", ()),
    "features": Way(
        "slope of\nmean features", ("features, two draws", "features, the top two")
    ),
    "weights": Way("weighted draws", ("weighed, from a proposal",)),
    "score": Way("score function", ("0/1, one draw", "pair, the top two")),
    "told": Way("imitation", ("told",)),
    "search": Way("search", ()),
}
UNBIASED = {  # the rules of `toy_rules` whose mean is the gradient of what they raise
    "0/1, one draw",
    "0/1, leave one out",
    "0/1, a set of two",
    "log p, one draw",
    "pair, drawn in order",
    "weighed, from the policy",
    "weighed, from a proposal",
    "told",
    "features, the top two",
    "features, all places",
}
READS = {
    "copy": Source("a small copy", "c", plots.SERIES[0]),
    "glimpses": Source("glimpses", "o", plots.SERIES[1]),
    "both": Source("copy and glimpses", "c, o", plots.SERIES[3]),
    "all": Source("everything", "x", plots.INK),
}
METHODS = (
    Method("Variational Saccading", "10", "elbo", "elbo", "crop", "copy"),
    Method("its code, our rows", "16", "elbo", "reweighted", "crop", "copy"),
    Method("RAM", "21", "reward", "reward", "score", "glimpses"),
    Method("DRAM", "21", "jensen", "reward", "score", "both"),
    Method("WSRAM", "22", "importance", "importance", "weights", "glimpses"),
    Method("TNet", "30", "jensen", "reward", "score", "copy"),
    Method("Saccader", "32", "reward", "reward", "score", "all"),
    Method("glimpse designer", "40", "entropy", "entropy", "search", "glimpses"),
    Method("PS-NOGS, told", "42", "told", "told", "told", "glimpses"),
    Method("PS-NOGS, others", "42", "jensen", "reward", "score", "glimpses"),
    Method("saliency sampler", "50", "likelihood", "likelihood", "crop", "copy"),
    Method("attention sampling", "61", "features", "features", "features", "copy"),
    Method("patch selection", "61", "features", "features", "features", "all"),
)


def order(value: Tensor, reference: Tensor) -> str:
    """How values stand to references over many cases: what `Bound.order` claims.

    ``"below"`` also needs a case that is truly below.
    """
    apart = value - reference
    if (apart.abs() < ENOUGH).all():
        return EQUAL
    return BELOW if (apart < ENOUGH).all() else NONE


def values(world: toy.World, logits: Tensor, more: dict[str, Tensor]) -> dict:
    """Every bound of the map with what it is compared to, ``(N,)`` each.

    Args:
        logits: ``(m, n)``, of the policy.
        more: ``prior`` logits ``(n,)`` and ``decoder`` logits ``(n, m)`` of the copy's
            model, ``proposal`` logits ``(N, n)``, and told ``places`` ``(N,)``.

    Returns:
        For each key of `BOUNDS` its value and its reference: log p(y | x), or
        log p(y, c | x) for those that model the copy too.
    """
    log_pi = world.policy(logits)
    prior, decoder = more["prior"].log_softmax(0), more["decoder"].log_softmax(1)
    label, copy = toy.elbo(world, log_pi, prior, decoder)
    wanted = toy.likelihood(world, log_pi)
    log_q = more["proposal"].log_softmax(dim=1)
    found = {
        "features": toy.features(world, log_pi),
        "likelihood": wanted,
        "importance": toy.importance(world, log_pi, 2, log_q),
        "jensen": toy.jensen(world, log_pi),
        "reward": toy.reward(world, log_pi),
        "told": toy.told(log_pi, more["places"]),
        "entropy": -(log_pi.exp() * toy.epe(world)[world.proxy]).sum(dim=1),
    }
    both = toy.log_joint(world, prior, decoder)
    of_both = {"elbo": label + copy, "reweighted": label + 0.01 * copy}
    return {name: (value, wanted) for name, value in found.items()} | {
        name: (value, both) for name, value in of_both.items()
    }


class Sizes(NamedTuple):
    """One budget for all: sides of the copy and of a glimpse, glimpses, scales."""

    J: int = 32
    L: int = 32
    T: int = 4
    scales: int = 1

    @property
    def copy(self) -> int:
        return self.J**2

    @property
    def looks(self) -> int:
        return self.T * self.scales * self.L**2


USUAL = Sizes()
READERS: dict[str, Callable[[Sizes, int], tuple[int, int]]] = {
    "whole image": lambda z, S: (0, S**2),
    "Variational Saccading": lambda z, S: (z.copy, z.copy + z.looks),
    "RAM": lambda z, S: (0, z.looks),
    "DRAM": lambda z, S: (z.copy, z.copy + z.looks),
    "WSRAM": lambda z, S: (0, z.looks),
    "TNet": lambda z, S: (z.L**2, z.L**2 + z.looks),  # level 1 is the copy
    "Saccader": lambda z, S: (S**2, S**2),
    "PS-NOGS, told": lambda z, S: (0, z.looks),
    "saliency sampler": lambda z, S: (z.copy, z.copy + z.L**2),
    "attention sampling": lambda z, S: (z.copy, z.copy + z.looks),
    "patch selection": lambda z, S: (S**2, S**2 + z.looks),  # the kept ones twice
}


def entering(method: str, S: int, sizes: Sizes = USUAL) -> tuple[int, int]:
    """Numbers a channel that enter a network for an image of S x S pixels.

    Returns:
        Before the first choice of a place, and in all, in one prediction.

    Raises:
        ValueError: a method that is not in `READERS`.
    """
    one_of("method", method, tuple(READERS))
    return READERS[method](sizes, S)


def draw(methods: tuple[Method, ...] = METHODS) -> Figure:
    """The map: bounds down, rules across; grey is where a paper's derivation starts."""
    rows, columns = [*BOUNDS], [*RULES]
    cells: dict[tuple[int, int], list[tuple[str, dict]]] = {}
    for m in methods:
        source, at = READS[m.reads], columns.index(m.rule)
        text, look = f"{m.name} ({source.letter})", {"color": source.colour}
        lines = [(line, look) for line in wrap(text, 20)]
        cells.setdefault((rows.index(m.raised), at), []).extend(lines)
        if m.derived != m.raised:
            start = [(m.name, {"color": plots.GREY, "style": "italic"})]
            cells.setdefault((rows.index(m.derived), at), []).extend(start)
    with plt.rc_context(plots.STYLE):
        fig, ax = plt.subplots(figsize=(7.2, 6.4), layout="constrained")
        _frame(ax, rows, columns)
        for (row, column), lines in cells.items():
            for k, (line, look) in enumerate(lines):
                y = row + 0.18 * (k - (len(lines) - 1) / 2)
                ax.text(column, y, line, ha="center", va="center", fontsize=6.5, **look)
    plt.close(fig)
    return fig


def _frame(ax: plt.Axes, rows: list[str], columns: list[str]) -> None:
    titles = ["{}\n{}\n({})".format(*BOUNDS[row]) for row in rows]
    ax.set_yticks(range(len(rows)), titles, fontsize=7)
    ax.set_xticks(range(len(columns)), [RULES[c].title for c in columns])
    ax.tick_params(length=0, labelsize=7)
    ax.xaxis.tick_top()
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    for edge in range(len(rows) + 1):
        ax.axhline(edge - 0.5, color="#dddddd", lw=0.6)
    for edge in range(len(columns) + 1):
        ax.axvline(edge - 0.5, color="#dddddd", lw=0.6)
    ax.spines[:].set_visible(False)
    for source in READS.values():
        text = f"({source.letter}) {source.title}"
        ax.plot([], [], "s", color=source.colour, label=text)
    where = {"loc": "upper center", "bbox_to_anchor": (0.4, -0.01), "ncols": 4}
    title = "what the policy reads before it chooses"
    ax.legend(**where, title=title, title_fontsize=8, fontsize=7.5)
