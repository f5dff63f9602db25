"""What the sequences are worth: g after T designed glimpses and after T others.

Test images, which neither g nor the database has seen, get a sequence each. g reads
them there; at different random places; at the T places nearest to the middle; and at
the T that the first map likes best, which look at no image. A second part measures what
goes wrong without the splits: a query left in its database, and a g that judges images
which it was trained on.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib import sequences
from saccade_lib.data.image_sets import ImageSet
from saccade_lib.design import retrieval_weights
from saccade_lib.estimators import effective_sample_size
from saccade_lib.models.avp import Avp, calibration
from saccade_lib.retrieval import Database, drawn, tempered
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.sequences import Cached, Settings, design_sequences, first_map


@dataclass(frozen=True)
class Worth:
    """Which g, how many images, and how sequences are made.

    Attributes:
        row: of g, trained on fold 0; completions come from fold 1.
        profile: of that row.
        images: test images that are read.
        others: images of fold 1 for the second part.
        database, flip, reach: as of `annotation.job.Plan`.
        settings: of the sequences; the seed is the run's.
    """

    row: str
    profile: str = "standard"
    images: int = 600
    others: int = 100
    database: int = 0
    flip: bool = False
    reach: int = 0
    settings: Settings = field(default_factory=Settings)


def measure(config: Worth, seed: int, device: torch.device, folder: Path) -> Measured:
    from saccade_lib.annotation.job import PAPER, evenly, posterior  # a layer above
    from saccade_lib.runs.recorder import find

    run = find(PAPER, f"{config.row}--{config.profile}--0").experiment
    pack = run.find(quiet=True)
    g = posterior(config.row, config.profile)
    train, test = run.part(pack, "train"), run.part(pack, "test")
    other = train.of_fold(1)
    inside = other.take(evenly(len(other), config.database))
    base = Database(inside.pixels(), inside.id, g.grid, config.flip, config.reach)
    settings = replace(config.settings, seed=seed)
    scorer = Cached(g, base)
    first = first_map(scorer, settings)
    some = test.take(evenly(len(test), config.images))
    found, curves = worth(scorer, some, first, settings)
    queries = inside.take(evenly(len(inside), config.others))
    found |= leak(scorer, queries, first, settings)
    learned = train.of_fold(0)
    learned = learned.take(evenly(len(learned), config.images))
    found |= by_heart(g, learned, some, seed)
    metrics = {k: {"value": v, "unit": u} for k, (v, u) in found.items()}
    return Measured(metrics=metrics, curves=curves, data=pack.record())


def worth(scorer: Cached, some: ImageSet, first: Tensor, settings: Settings):
    """Metrics of the first part, and curves over t."""
    g, images = scorer.g, some.pixels()
    own = torch.zeros(len(some), scorer.database.N, dtype=torch.bool)  # other splits
    made = [
        design_sequences(scorer, images[b], some.id[b], own[b], first, settings)
        for b in torch.arange(len(some)).split(50)
    ]
    places = torch.cat([m["places"] for m in made])
    T = settings.glimpses
    near = g.grid.locations.square().sum(dim=1).argsort(stable=True)[:T]
    ways = {
        "designed": places,
        "random": sequences.random_places(g, len(some), settings.seed),
        "centre": near.expand(len(some), -1),
        "steady": sequences.steady(first, T).expand(len(some), -1),
    }
    found, right, curves = {}, {}, {"glimpses": list(range(1, T + 1))}
    for way, at in ways.items():
        each = [_read(g, images, some.label, at[:, :t]) for t in range(1, T + 1)]
        right[way] = each[-1][1]
        for name in ("accuracy", "entropy", "cross_entropy"):
            curves[f"{way}_{name}"] = [e[0][name] for e in each]
            unit = "%" if name == "accuracy" else "nats"
            found[f"{way}_{name}"] = each[-1][0][name], unit
        inside = sequences.contained(g.grid, at, some.parts, some.visible)
        for k, part in enumerate(some.part_names):
            share = inside[:, k].sum() / some.visible[:, k].sum().clamp_min(1)
            found[f"{way}_on_{part.replace(' ', '_')}"] = 100 * float(share), "%"
    gap = right["designed"].float() - right["random"].float()
    found["gain"] = 100 * float(gap.mean()), "%"
    found["gain_error"] = 100 * float(gap.std() / len(gap) ** 0.5), "%"
    promised = torch.cat([m["maps"] for m in made]).gather(2, places[..., None])
    curves["promised"] = promised.mean(dim=(0, 2)).tolist()
    found["promised"] = curves["promised"][-1], "nats"
    ess = torch.cat([m["ess"] for m in made]).mean(dim=0).tolist()
    curves["ess"] = [float(scorer.database.M), *ess]
    found["ess"] = ess[-1], ""
    return found, curves


def left_in(
    scorer: Cached, images: Tensor, ids: Tensor, places: Tensor, settings: Settings
) -> dict[str, dict[str, Tensor]]:
    """What becomes of completions where a query may complete itself.

    Both ways have the temperature that suits the query's absence.

    Args:
        images: ``(B, C, H, W)``, which the database holds; ids: ``(B,)``.
        places: ``(B, t)``, where they were seen.

    Returns:
        For ``"out"`` and ``"in"``: ``ess (B,)``; ``own (B,)``, the query's share of the
        weight; ``maps (B, L)``; and for ``"true"``: ``maps`` of the true image alone,
        the entropy of g if one looked there.
    """
    base, grid = scorer.database, scorer.g.grid
    own = base.own(ids)
    distance = torch.zeros(own.shape)
    for at in places.T:
        distance += base.distance(grid.patches(images, at[:, None])[:, 0], at)
    out, v = tempered(distance, own, settings.ess)
    itself = own.int().argmax(dim=1)[:, None]  # version 0 comes first
    one = torch.ones(len(ids), 1)
    found = {"true": {"maps": _maps(scorer, images, places, itself, one)}}
    both = {"out": out, "in": retrieval_weights(distance, v, torch.zeros_like(own))}
    for name, weights in both.items():
        seeds = [sequences.seed_of(settings.seed, id, 0) for id in ids.tolist()]
        index, share = drawn(weights, settings.completions, seeds)
        found[name] = {
            "ess": effective_sample_size(weights.T),
            "own": (weights * own).sum(dim=1),
            "maps": _maps(scorer, images, places, index, share),
        }
    return found


def _maps(scorer, images, places, index, share) -> Tensor:
    rows = zip(images, places, index, share, strict=True)
    return torch.stack([scorer.epe(x, at, c[w > 0], w[w > 0]) for x, at, c, w in rows])


def leak(scorer: Cached, queries: ImageSet, first: Tensor, settings: Settings) -> dict:
    """Metrics of `left_in` before the last glimpse of designed sequences."""
    images, own = queries.pixels(), scorer.database.own(queries.id)
    made = design_sequences(scorer, images, queries.id, own, first, settings)
    both = left_in(scorer, images, queries.id, made["places"][:, :-1], settings)
    true, found = both.pop("true")["maps"], {}
    for name, of in both.items():
        found[f"ess_{name}"] = float(of["ess"].mean()), ""
        found[f"own_{name}"] = 100 * float(of["own"].mean()), "%"
        found[f"epe_{name}"] = float(of["maps"].amin(dim=1).mean()), "nats"
        # How far the map is from that of the true image, which nobody should know.
        found[f"gap_{name}"] = float((of["maps"] - true).abs().mean()), "nats"
    return found


def by_heart(g: Avp, learned: ImageSet, fresh: ImageSet, seed: int) -> dict:
    """g on images it was trained on and on others, at random places."""
    found = {}
    for name, some in (("learned", learned), ("fresh", fresh)):
        at = sequences.random_places(g, len(some), seed)
        each, _ = _read(g, some.pixels(), some.label, at)
        found[f"{name}_entropy"] = each["entropy"], "nats"
        found[f"{name}_cross_entropy"] = each["cross_entropy"], "nats"
    return found


def _read(g: Avp, images, label, places) -> tuple[dict, Tensor]:
    p = g.predict(images, places).probabilities
    return calibration(p, label), p.argmax(dim=1) == label


FEW = Settings(completions=8, ess=8.0, first=100)


def rows() -> dict[str, dict[str, Measurement]]:
    sets = {
        "digits": Worth("g-set-digits-0", database=5_000),
        "birds": Worth("g-set-birds-0", flip=True, reach=1),
    }
    found = {}
    for name, config in sets.items():
        few = replace(config, profile="quick", images=20, others=10, database=100)
        few = replace(few, settings=FEW)
        found[f"worth-{name}"] = {
            "quick": Measurement(measure, few, seeds=(0,)),
            "standard": Measurement(measure, config),
        }
    return found


ROWS = rows()
