"""Experiments on canvases of handwritten digits."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from torch import nn

from saccade_lib.data import digits, door, noisy
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import VariationalSaccading
from saccade_lib.runs.experiment import Experiment


@dataclass(frozen=True)
class OnDigits(Experiment):
    """A row at one profile whose images are `digits.Canvases`.

    Attributes:
        task: of `digits.Canvases`, as are side, digit, clutter and enlarge.
        windows: how canvases are read that are never composed (`digits.Windows`):
            at ``"full"`` size; from a ``"level"``, antialiased; or so and ``"soft"``.
            Empty for composed canvases.
        noise: standard deviation of the noise on the proxy (`noisy.NoisyProxies`).
    """

    task: str
    _: KW_ONLY
    side: int = 100
    digit: int = digits.GLYPH
    clutter: int = 8
    enlarge: int | None = None
    windows: str = ""
    noise: float = 0.0

    code: ClassVar = (digits, noisy)

    def find(self, quiet: bool) -> door.Pack:
        return door.mnist(quiet=quiet)

    def canvases(self, pack: door.Pack, split: str, seed: int) -> digits.Canvases:
        kind, more = digits.Canvases, {}
        if self.noise:
            kind, more = noisy.NoisyProxies, {"proxy": self.model.proxy}
            more["noise"] = self.noise
        if self.windows:
            kind, more = digits.Windows, {"proxy": self.model.proxy}
            more["antialias"] = self.windows in ("level", "soft")
            more["soft"] = self.windows == "soft"
        return kind(
            pack,
            self.task,
            split,
            side=self.side,
            digit=self.digit,
            clutter=self.clutter,
            enlarge=self.enlarge,
            seed=seed,
            **more,
        )

    def kind(self) -> type[nn.Module]:
        kind = super().kind()
        return ByWindows if self.windows and kind is VariationalSaccading else kind
