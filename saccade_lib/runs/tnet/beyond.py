"""What TNet would be with one part of it exchanged: rows on mosaics, and a stop.

One at a time: no per-feature terms (section 5.4 of the paper); a likelihood as reward;
a learned weight for each vector. Then the policy: its practice, the most probable
cells of scores of length one, against free scores at a temperature, and against draws
without replacement by four rules. `stop` trains no TNet of another kind: it learns
when a trained one has seen enough.
"""

from dataclasses import replace

from saccade_lib.models import tnet
from saccade_lib.runs.measurement import Measurement
from saccade_lib.runs.on_mosaics import OnMosaics
from saccade_lib.runs.tnet import digits, stopping
from saccade_lib.runs.tnet.recipe import together
from saccade_lib.runs.tnet.satellite import MODEL, QUICK, RUN

# About the length that the nine scores have at first, so that a policy of free scores
# begins as unsure as one of scores of length one, and may become sure.
TEMPERATURE = 3.0


def variants() -> dict[str, tnet.Config]:
    """Each differs from `satellite.MODEL` as its name says."""
    free = replace(MODEL, normalise=False, temperature=TEMPERATURE)
    drawn = replace(free, choice="sample")
    return {
        "together": together(MODEL),
        "temperature": free,
        "ordered": replace(drawn, log_prob="ordered"),
        "unordered": replace(drawn, log_prob="unordered"),
        "sample": drawn,
        "weighted": replace(MODEL, pool="weighted"),
        "likelihood": replace(MODEL, reward="likelihood"),
        "unit-ordered": replace(MODEL, choice="sample", log_prob="ordered"),
    }


def rows() -> dict[str, dict[str, OnMosaics | Measurement]]:
    """``NAME-satellite``, and `stop` on mosaics and on digits."""
    found = {}
    for name, model in variants().items():
        run = replace(RUN, model=model)
        quick = replace(run, schedule=QUICK, seeds=(0,), validation=50, test=50)
        found[f"{name}-satellite"] = {"quick": quick, "standard": run}
    shown = digits.ROWS["shown-digits"]["standard"]
    for name, run in (("satellite", RUN), ("digits", shown)):
        config = stopping.Stopping(run)
        found[f"stop-{name}"] = {"standard": Measurement(stopping.measure, config)}
    return found


ROWS = rows()
