"""Runs of appendix 7.5: the same model, by how the crop's gradient is computed.

The model, data and schedule are those of the first chapter's `saccading-single`, which
has the full spatial transformer; only the sampler differs. `no-gradient-single` is the
control: its places learn from the proxy's reconstruction and the KL alone.
"""

from dataclasses import replace

from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.variational_saccading.two_digits import single
from saccade_lib.train import Schedule

SAMPLERS = {
    "saccading-single": "bilinear",
    "lst-single": "mask",
    "lst-exact-single": "local",
    "lst-wide-2-single": "wide-2",
    "lst-wide-4-single": "wide-4",
    "no-gradient-single": "detached",
}


def samplers() -> dict[str, dict[str, OnDigits]]:
    """One row a sampler; at `quick` all are cut short alike."""
    base = single()["saccading-single"]
    short = Schedule(steps=120, batch=64, rate=2e-3, validate_every=60)
    quick = replace(base["quick"], schedule=short, validation=250, test=500)
    return {
        row: {
            profile: replace(run, model=replace(run.model, sampler=sampler))
            for profile, run in (("quick", quick), ("standard", base["standard"]))
        }
        for row, sampler in SAMPLERS.items()
    }


COMPARED = samplers()
# The first row is the first chapter's: it is recorded once.
ROWS = {row: runs for row, runs in COMPARED.items() if row != "saccading-single"}
