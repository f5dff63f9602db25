"""How fast completions are judged: evaluations of g a second, and a whole set.

Three ways to the same numbers, one after the other in one process: the set network on
kept embeddings; the set network that cuts and reads its patches anew; the small
convolutional network on masked images, the plain loop of the paper's form. Then the job
itself, with its files, and what its sequences look like as a whole. CPU seconds are the
process's own, in which neighbours on the machine have no part; wall seconds stand
beside them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from saccade_lib.retrieval import Database
from saccade_lib.runs.experiment import build
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.sequences import Cached, Plain, statistics


@dataclass(frozen=True)
class Speed:
    """What is timed.

    Attributes:
        set, profile: the set of `annotation.job.plans`.
        plain: row of the network of the plain loop.
        queries: images, each judged once after two glimpses, by the fast way; the plain
            loops judge one of them.
        count: images of the whole job; 0: the set as it is.
    """

    set: str
    profile: str
    plain: str
    queries: int = 50
    count: int = 0


def measure(config: Speed, seed: int, device: torch.device, folder: Path) -> Measured:
    from saccade_lib.annotation import job as jobs  # a layer above
    from saccade_lib.runs.recorder import find

    plan = jobs.plan_of(config.set, config.profile)
    plan = replace(plan, settings=replace(plan.settings, seed=seed))
    plan = replace(plan, count=config.count or plan.count)
    job = jobs.Job(config.set, plan)
    found = {}
    clock, wall = time.process_time(), time.perf_counter()
    base = job.database(0)
    scorer = Cached(job.networks[1], base)
    found["embedding"] = time.process_time() - clock, "s"
    cnn = find(jobs.PAPER, f"{config.plain}--{config.profile}--0").experiment
    ways = {
        "cached": (scorer, config.queries),
        "uncached": (Plain(job.networks[1], base), 1),
        "plain": (Plain(build(cnn, seed).eval(), base), 1),
    }
    for name, (way, queries) in ways.items():
        found[f"evaluations_{name}"] = rate(way, base, plan, queries), "1/s"
    for name in ("uncached", "plain"):
        ratio = found["evaluations_cached"][0] / found[f"evaluations_{name}"][0]
        found[f"speed_up_{name}"] = ratio, "x"
    path = folder / f"set-{seed}.safetensors"
    path.unlink(missing_ok=True)
    clock, wall = time.process_time(), time.perf_counter()
    jobs.run(job, range(len(job.blocks)), path)
    cpu, wall = time.process_time() - clock, time.perf_counter() - wall
    made = jobs.load(path)
    found["job_cpu"], found["job_wall"] = (cpu, "s"), (wall, "s")
    found["job_hours"] = cpu / 3600, "h"
    found["job_images"] = float(len(made)), ""
    whole = statistics(made.places, made.grid)
    found["covered"] = 100 * whole["covered"], "%"
    found["repeats"] = 100 * whole["repeats"] / len(made), "%"
    back = (
        made.maps.argmin(dim=2) != made.places
    )  # a seen place had the lowest estimate
    found["would_return"] = 100 * float(back[:, 1:].float().mean()), "%"
    for t, bits in enumerate(whole["entropy"], start=1):
        found[f"bits_{t}"] = bits, "bits"
        _, most = whole["most_frequent"][t - 1]
        found[f"most_frequent_{t}"] = 100 * most / len(made), "%"
    scorers = [job.scorer(fold)[0] for fold in (0, 1)]
    found["job_evaluations"] = sum(s.evaluations for s in scorers) / 1e6, "M"
    metrics = {k: {"value": v, "unit": u} for k, (v, u) in found.items()}
    return Measured(metrics=metrics, data=job.source.record())


def rate(scorer, base: Database, plan, queries: int) -> float:
    """Evaluations of g a CPU second, over so many images after two glimpses."""
    N = plan.settings.completions
    places = torch.tensor([0, base.grid.L // 2])
    weights = torch.full((N,), 1 / N)

    def judge(k: int) -> None:
        candidates = (torch.arange(N) * 7 + k) % base.N
        scorer.epe(base.images[k % base.M], places, candidates, weights)

    judge(0)
    before = scorer.evaluations
    seconds = cpu_seconds(lambda: [judge(k) for k in range(queries)])
    return (scorer.evaluations - before) / seconds


def cpu_seconds(call: Callable[[], object]) -> float:
    clock = time.process_time()
    call()
    return time.process_time() - clock


ROWS = {
    "speed-birds": {
        "quick": Measurement(
            measure, Speed("birds", "quick", "g-cnn-birds-0", queries=2), seeds=(0,)
        ),
        "standard": Measurement(measure, Speed("birds", "standard", "g-cnn-birds-0")),
    }
}
