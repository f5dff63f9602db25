"""What a better designer buys: four questions, asked of one g and one database.

``beyond-designer-IMAGES``, on test images that neither has seen:

1. `plans`: two glimpses planned instead of one, after T = 3 and T = 5;
2. `scores`: -log g(theta) of the completions in place of H[g], with g as calibrated
   and at wrong temperatures. What was chosen is always read by the calibrated g;
3. `draws`: how many completions, and of which effective sample size, from the third
   glimpse on;
4. `coarse`: the same maps searched from coarse to fine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib import sequences
from saccade_lib.data.image_sets import ImageSet
from saccade_lib.design import entropy
from saccade_lib.look_ahead import Ahead, Labelled, coarse_to_fine, heated
from saccade_lib.models.avp import Avp
from saccade_lib.retrieval import Database, drawn, tempered
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.near_optimal_glimpses.worth import FEW
from saccade_lib.sequences import Cached, Settings, design_sequences, first_map

HEAT = (0.33, 1.0, 3.0)  # factors on the temperatures of g
NEVER = 2_048  # completions whose map stands for that of infinitely many


@dataclass(frozen=True)
class Designers:
    """Which g, how many images, and how sequences are made.

    Attributes:
        row: of g, trained on fold 0; completions come from fold 1.
        profile: of that row.
        images: test images that get sequences.
        queries: those of them whose maps are drawn many times.
        database, flip, reach: as of `annotation.job.Plan`.
        settings: of the sequences; the seed is the run's.
        counts: N, for `draws`.
        sizes: effective sample sizes, for `draws`.
        keep, ess, start: of `look_ahead.Ahead` and its first map.
    """

    row: str
    profile: str = "standard"
    images: int = 500
    queries: int = 200
    database: int = 0
    flip: bool = False
    reach: int = 0
    settings: Settings = field(default_factory=Settings)
    counts: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128)
    sizes: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    keep: int = 8
    ess: float = 8.0
    start: int = 500


@dataclass
class Bench:
    """What all parts share."""

    config: Designers
    g: Avp
    base: Database
    labels: Tensor  # (M,), of the database
    some: ImageSet
    settings: Settings

    def made(self, scorer: Cached, first: Tensor, settings: Settings | None = None):
        """Places ``(B, T)`` that a scorer chooses for all images."""
        images, own = self.some.pixels(), self.nobody(len(self.some))
        found = [
            design_sequences(
                scorer,
                images[b],
                self.some.id[b],
                own[b],
                first,
                settings or self.settings,
            )["places"]
            for b in torch.arange(len(images)).split(50)
        ]
        return torch.cat(found)

    def nobody(self, count: int) -> Tensor:
        """Test images are not in the database."""
        return torch.zeros(count, self.base.N, dtype=torch.bool)

    def read(self, places: Tensor) -> dict[str, Tensor]:
        """Of each image, with the calibrated g: nats, nats, and 0 or 1."""
        p = self.g.predict(self.some.pixels(), places).probabilities
        of_label = p.gather(1, self.some.label[:, None])[:, 0]
        return {
            "entropy": entropy(p),
            "cross_entropy": -of_label.clamp_min(1e-12).log(),
            "accuracy": 100.0 * (p.argmax(dim=1) == self.some.label),
        }


UNITS = {"entropy": "nats", "cross_entropy": "nats", "accuracy": "%"}


def bench(config: Designers, seed: int) -> tuple[Bench, dict]:
    """The parts, and the record of the data."""
    from saccade_lib.annotation.job import PAPER, evenly, posterior  # a layer above
    from saccade_lib.runs.recorder import find

    run = find(PAPER, f"{config.row}--{config.profile}--0").experiment
    pack = run.find(quiet=True)
    g = posterior(config.row, config.profile)
    inside, test = run.part(pack, "train").of_fold(1), run.part(pack, "test")
    inside = inside.take(evenly(len(inside), config.database))
    base = Database(inside.pixels(), inside.id, g.grid, config.flip, config.reach)
    some = test.take(evenly(len(test), config.images))
    settings = replace(config.settings, seed=seed)
    return Bench(config, g, base, inside.label, some, settings), pack.record()


def measure(
    config: Designers, seed: int, device: torch.device, folder: Path
) -> Measured:
    on, data = bench(config, seed)
    scorer = Cached(on.g, on.base)
    first = first_map(scorer, on.settings)
    found = plans(on, scorer, first) | scores(on, scorer)
    drawn_, curves = draws(on, scorer, on.made(scorer, first)[:, :2])
    metrics = {k: {"value": float(v), "unit": u} for k, (v, u) in found.items()}
    metrics |= {k: {"value": float(v), "unit": u} for k, (v, u) in drawn_.items()}
    return Measured(metrics=metrics, curves=curves, data=data)


def compared(name: str, one: dict, other: dict) -> dict:
    """Paired differences over the images, with their standard errors."""
    found = {}
    for what, unit in UNITS.items():
        gap = one[what] - other[what]
        found[f"{name}_{what}"] = gap.mean(), unit
        found[f"{name}_{what}_error"] = gap.std() / len(gap) ** 0.5, unit
    return found


# ---- 1. Plans


def plans(on: Bench, scorer: Cached, first: Tensor) -> dict:
    """Ways of T = 3 and 5: ``greedy``, ``ahead``, ``pair``, ``random``."""
    cfg, g, found = on.config, on.g, {}
    full = on.settings.glimpses
    for T in sorted({min(3, full), full}):
        settings = replace(on.settings, glimpses=T)
        ways: dict[str, Callable[[], tuple[Cached, Tensor]]] = {
            "greedy": lambda: (scorer, first),
            "ahead": partial(_ahead, on, scorer, T, cfg.ess),
            "pair": partial(_ahead, on, scorer, T, None),
        }
        read = {}
        for way, prepare in ways.items():
            judge, start = prepare()
            before = judge.evaluations
            read[way] = on.read(on.made(judge, start, settings))
            each = (judge.evaluations - before) / len(on.some) / 1e3
            found[f"{way}_{T}_evaluations"] = each, "k"
        at = sequences.random_places(g, len(on.some), on.settings.seed)[:, :T]
        read["random"] = on.read(at)
        for way, of in read.items():
            for what, unit in UNITS.items():
                found[f"{way}_{T}_{what}"] = of[what].mean(), unit
            if way != "greedy":
                found |= compared(f"{way}_{T}_minus_greedy", of, read["greedy"])
    return found


def _ahead(on: Bench, scorer: Cached, T: int, ess: float | None):
    judge = Ahead(scorer, T, on.config.keep, ess)
    return judge, judge.first_map(on.config.start)


# ---- 2. Scores


def scores(on: Bench, scorer: Cached) -> dict:
    """``entropy`` against ``label`` scores, at each heat: what they leave, and how
    often they disagree on the next place of one and the same history."""
    found = {}
    for heat in HEAT:
        hot = heated(scorer, heat)
        by = {"entropy": hot, "label": Labelled(hot, on.labels)}
        places, read = {}, {}
        for name, judge in by.items():
            places[name] = on.made(judge, first_map(judge, on.settings))
            read[name] = on.read(places[name])
            for what, unit in UNITS.items():
                found[f"{name}_{heat:g}_{what}"] = read[name][what].mean(), unit
        gap = f"label_minus_entropy_{heat:g}"
        found |= compared(gap, read["label"], read["entropy"])
        found[f"differ_{heat:g}"] = disagreement(on, by["label"], places["entropy"])
    return found


def disagreement(on: Bench, scorer: Labelled, places: Tensor) -> tuple[float, str]:
    """Per cent of the maps after which the two scores choose different places."""
    count, differ = min(on.config.queries, len(on.some)), 0
    T = on.settings.glimpses
    images, N = on.some.pixels()[:count], on.settings.completions
    for t in range(1, T):
        at = places[:count, :t]
        index, share = completions(on, images, at, N, on.settings.ess)
        for x, seen, c, w in zip(images, at, index, share, strict=True):
            both = scorer.both(x, seen, c[w > 0], w[w > 0])
            one, other = (m.scatter(0, seen, torch.inf).argmin() for m in both)
            differ += int(one != other)
    return 100 * differ / (count * (T - 1)), "%"


def completions(on: Bench, images: Tensor, places: Tensor, N: int, ess: float):
    """N draws for each image after its places, as of `retrieval.drawn`."""
    distance = torch.zeros(len(images), on.base.N)
    for at in places.T:
        patches = on.g.grid.patches(images, at[:, None])[:, 0]
        distance += on.base.distance(patches, at)
    weights, _ = tempered(distance, on.nobody(len(images)), ess)
    seeds = [
        sequences.seed_of(on.settings.seed, id, 100 + N)
        for id in on.some.id[: len(images)].tolist()
    ]
    return drawn(weights, N, seeds)


# ---- 3. Draws, and 4. from coarse to fine


def maps_of(on: Bench, scorer: Cached, places: Tensor, N: int, ess: float):
    """Maps ``(Q, L)``, infinite at seen places; evaluations of g a query."""
    images = on.some.pixels()[: len(places)]
    found, before = [], scorer.evaluations
    for b in torch.arange(len(places)).split(25):
        index, share = completions(on, images[b], places[b], N, ess)
        for x, seen, c, w in zip(images[b], places[b], index, share, strict=True):
            epe = scorer.epe(x, seen, c[w > 0], w[w > 0])
            found.append(epe.scatter(0, seen, torch.inf))
    return torch.stack(found), (scorer.evaluations - before) / len(places)


def against(true: Tensor, choice: Tensor) -> tuple[float, float]:
    """Per cent of the choices that are the lowest of the true map; their regret."""
    value = true.gather(1, choice[:, None])[:, 0]
    least, best = true.min(dim=1)
    return 100 * float((choice == best).float().mean()), float((value - least).mean())


def draws(on: Bench, scorer: Cached, two: Tensor) -> tuple[dict, dict]:
    """Metrics, and curves over N: third maps against those of `NEVER` completions."""
    cfg, T = on.config, on.settings
    places = two[: cfg.queries]
    true, _ = maps_of(on, scorer, places, NEVER, T.ess)
    found, curves = {}, {"completions": [float(N) for N in cfg.counts]}
    names = ("agree", "regret", "noise", "evaluations")
    curves |= {name: [] for name in names}
    for N in cfg.counts:
        maps, cost = maps_of(on, scorer, places, N, T.ess)
        finite = torch.isfinite(true)
        noise = (maps - true)[finite].std()
        values = (*against(true, maps.argmin(dim=1)), float(noise), cost)
        for name, value in zip(names, values, strict=True):
            curves[name].append(value)
        units = ("%", "nats", "nats", "")
        for name, value, unit in zip(names, values, units, strict=True):
            found[f"{name}_{N}"] = value, unit
        if T.completions == N:
            found |= coarse(on, true, maps, cost)
    for ess in cfg.sizes:
        found |= of_size(on, scorer, places, true, ess)
    return found, curves


def of_size(on: Bench, scorer: Cached, places: Tensor, true: Tensor, ess: float):
    """With all completions of one effective sample size: agreement with that of the
    settings, and what g says of the true image after the chosen look."""
    maps, _ = maps_of(on, scorer, places, NEVER, ess)
    choice = maps.argmin(dim=1)
    at = torch.cat((places, choice[:, None]), dim=1)
    p = on.g.predict(on.some.pixels()[: len(at)], at).probabilities
    of_label = p.gather(1, on.some.label[: len(at), None])[:, 0]
    nll = -of_label.clamp_min(1e-12).log()
    promised = maps.amin(dim=1)
    key = f"ess_{ess:g}"
    return {
        f"{key}_agree": (against(true, choice)[0], "%"),
        f"{key}_promised": (promised.mean(), "nats"),
        f"{key}_entropy": (entropy(p).mean(), "nats"),
        f"{key}_cross_entropy": (nll.mean(), "nats"),
        f"{key}_cross_entropy_error": (nll.std() / len(nll) ** 0.5, "nats"),
    }


def coarse(on: Bench, true: Tensor, maps: Tensor, cost: float) -> dict:
    """The search on maps of N completions, beside a search of all places."""
    choice, tried = coarse_to_fine(maps, on.g.grid.n)
    found, lost = against(maps, choice)
    share = tried.float().mean()
    return {
        "coarse_found": (found, "%"),
        "coarse_lost": (lost, "nats"),
        "coarse_regret": (against(true, choice)[1], "nats"),
        "coarse_tried": (100 * share, "%"),
        "coarse_evaluations": (cost * share, ""),
    }


def rows() -> dict[str, dict[str, Measurement]]:
    sets = {
        "digits": Designers("g-set-digits-0", database=5_000),
        "birds": Designers("g-set-birds-0", images=200, queries=80, flip=True, reach=1),
    }
    found = {}
    for name, config in sets.items():
        few = replace(config, profile="quick", images=12, queries=6, database=60)
        few = replace(few, settings=FEW, counts=(2, 8), sizes=(4.0, 8.0), keep=2)
        few = replace(few, ess=2.0, start=50)
        found[f"beyond-designer-{name}"] = {
            "quick": Measurement(measure, few, seeds=(0,)),
            "standard": Measurement(measure, config),
        }
    return found


ROWS = rows()
