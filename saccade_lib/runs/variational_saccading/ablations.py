"""Runs of figure 4, and of what the paper does not ablate.

All of them change one thing in the first chapter's model, trained for a fifth as long:
one digit among clutter on 60 x 60, two windows, a proxy of 12 x 12.

The paper's variances belong to its own z, whose window moves by 0.3 z (released code).
Ours moves by (1 - s) tanh z; a variance is brought over so that the place has the same
standard deviation in pixels, to first order: `in_our_z`.
"""

from dataclasses import replace

from saccade_lib.models import baselines
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.variational_saccading.two_digits import SINGLE
from saccade_lib.train import Schedule

NOISES = (0.25, 0.5, 1.0)  # of the proxy, in units of its range
VARIANCES = (0.6, 0.9, 1.2, 1.4, 1.6, 2.0, 5.0)  # the paper's
SMALLER = (0.2,)  # ours: is it learning that helps, or a small variance?
GLIMPSES = (1, 4, 8)
KL_WEIGHTS = (0.0, 0.1, 1.0)
PROXIES = (6, 20, 30)
OFFSET = 0.3  # of the released code's window, for a z of one

BASE = OnDigits(
    "single",
    model=SINGLE,
    schedule=Schedule(steps=600, batch=128, rate=2e-3, validate_every=100),
    side=60,
    clutter=4,
    validation=1_000,
    test=4_000,
)
QUICK = Schedule(steps=60, batch=64, rate=2e-3, validate_every=30)
NOISIEST = replace(BASE, noise=NOISES[-1], seeds=(0, 1, 2, 3, 4))


def row(run: OnDigits) -> dict[str, OnDigits]:
    """A row's profiles: `standard`, and a `quick` that only shows that it runs."""
    quick = replace(run, schedule=QUICK, seeds=(0,), validation=250, test=500)
    return {"quick": quick, "standard": run}


def changed(run: OnDigits, **changes) -> dict[str, OnDigits]:
    """A row whose model differs in the fields named."""
    return row(replace(run, model=replace(run.model, **changes)))


def proxy_only(run: OnDigits, proxy: int) -> dict[str, OnDigits]:
    return row(replace(run, model=baselines.ProxyConfig(classes=10, proxy=proxy)))


def in_our_z(variance: float) -> float:
    """A variance of the paper's z in ours."""
    return variance * (OFFSET / (1 - SINGLE.scale[0])) ** 2


def named(value: float) -> str:
    """A number as part of a row's name: 0.6 as "0-6"."""
    return f"{value:g}".replace(".", "-")


def noisy() -> dict[str, dict[str, OnDigits]]:
    """Figure 4, left: noisier and noisier proxies, and what each gives away."""
    rows = {"ablation-base": row(replace(BASE, seeds=NOISIEST.seeds))}
    for noise in NOISES:
        run = replace(BASE, noise=noise)
        rows[f"ablation-noise-{named(noise)}"] = row(run)
        rows[f"ablation-proxy-only-noise-{named(noise)}"] = proxy_only(run, 12)
    # The noisiest row is the learned one of the right half: five seeds.
    rows[f"ablation-noise-{named(NOISES[-1])}"] = row(NOISIEST)
    return rows


def variances() -> dict[str, dict[str, OnDigits]]:
    """Figure 4, right: fixed variances under the noisiest proxy, and a free one."""
    rows = {
        f"ablation-variance-{named(v)}": changed(
            NOISIEST, fixed_variance=in_our_z(v), sigma_max=None
        )
        for v in SMALLER + VARIANCES
    }
    return rows | {"ablation-variance-free": changed(NOISIEST, sigma_max=None)}


def beyond() -> dict[str, dict[str, OnDigits]]:
    """The number of glimpses, the weight of the KL, the size of the proxy."""
    rows = {}
    for T in GLIMPSES:
        rows[f"ablation-glimpses-{T}"] = changed(BASE, glimpses=T)
    for T in (1, 2, 4, 8):
        rows[f"ablation-random-{T}"] = changed(BASE, glimpses=T, places="random")
    for weight in KL_WEIGHTS:
        rows[f"ablation-kl-{named(weight)}"] = changed(BASE, kl_weight=weight)
    for side in PROXIES:
        rows[f"ablation-proxy-{side}"] = changed(BASE, proxy=side)
    for side in (12, *PROXIES):
        rows[f"ablation-proxy-only-{side}"] = proxy_only(BASE, side)
    return rows


ROWS = noisy() | variances() | beyond()
