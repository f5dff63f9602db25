"""Two rows compared seed by seed, and what so few seeds decide about them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import t as student

from saccade_lib.records.ledger import by_seed

LEVEL = 0.95  # of the interval


@dataclass(frozen=True)
class Paired:
    """Differences of two rows by seed, in the unit of what was compared.

    Rows of one family share images at a seed, and first weights where their networks
    are alike, so the difference of two of them varies less than either; its interval
    is Student's, over seeds.
    """

    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Over seeds. Raises ValueError without any."""
        if not self.by_seed:
            raise ValueError("the two rows have no recorded seed in common")
        return statistics.fmean(self.by_seed.values())

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval about the mean; None with fewer than two seeds.

        With n seeds $t_{0.975,n-1}s/\\sqrt n$: at three of them 4.3 standard errors,
        at five 2.8. It takes differences to be normal, which so few cannot show.
        """
        n = len(self.by_seed)
        if n < 2:
            return None
        spread = statistics.stdev(self.by_seed.values())
        return float(student.ppf((1 + LEVEL) / 2, n - 1)) * spread / n**0.5

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero; with one seed nothing is decided."""
        return self.half is not None and abs(self.mean) > self.half

    @property
    def verdict(self) -> str:
        """ "decided" or "open"."""
        return "decided" if self.decided else "open"

    @property
    def one_sign(self) -> bool:
        """Whether all seeds agree in sign, which three do by chance in one of four."""
        gaps = self.by_seed.values()
        return bool(gaps) and (min(gaps) > 0 or max(gaps) < 0)

    def text(self, decimals: int = 1) -> str:
        """ "+4.0 ± 2.0", or "+4.0, one seed", or "not recorded"."""
        if not self.by_seed:
            return "not recorded"
        shown = f"{self.mean:+,.{decimals}f}"
        if self.half is None:
            return f"{shown}, one seed"
        return f"{shown} ± {self.half:,.{decimals}f}"

    def __str__(self) -> str:
        """The text, and what it says: "+4.0 ± 2.0, decided", or "open"."""
        if self.half is None:
            return self.text()
        return f"{self.text()}, {self.verdict}"


def paired(
    paper: str,
    one: str,
    other: str,
    metric: str,
    profile: str = "standard",
    root: Path | None = None,
) -> Paired:
    """One row less another of the same paper, over the seeds that both have recorded.

    Raises ValueError for an unknown profile.
    """
    a, b = (by_seed(paper, row, metric, profile, root) for row in (one, other))
    return Paired({seed: a[seed] - b[seed] for seed in a if seed in b})
