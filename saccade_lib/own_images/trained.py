"""A trained classifier: to ask, to draw, to keep and to hand on."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from saccade_lib import plots
from saccade_lib import train as training
from saccade_lib.models.looking import Config, Looking
from saccade_lib.own_images import exports, looks
from saccade_lib.own_images.decisions import Decisions
from saccade_lib.own_images.looks import Look

WEIGHTS, ABOUT = "model.safetensors", "model.json"
NAMES = {
    "saccading": "proxy and glimpses",
    "random": "the same at random places",
    "proxy only": "proxy only",
}


@dataclass(eq=False)
class Trained:
    """What `train` returns.

    Attributes:
        model: on the CPU, in evaluation mode.
        classes: names.
        decisions: as trained.
        right: by row, whether each test image was answered right.
        curves: by row, as of `train.Fit`.
        seconds, cpu_seconds: of everything.
    """

    model: Looking
    classes: tuple[str, ...]
    decisions: Decisions
    right: dict[str, list[bool]] = field(repr=False)
    curves: dict[str, dict] = field(repr=False, default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def predict(self, path: str | Path) -> Look:
        """Probabilities and places for one image of any size.

        Raises:
            ValueError: a file that does not decode, or is too small.
            OSError: one that cannot be opened.
        """
        return looks.look(self.model, self.classes, path)

    def draw(self, path: str | Path) -> Figure:
        """The image with its numbered windows, and what was read there."""
        seen = self.predict(path)
        best = seen.predicted
        return plots.fixation_strip(
            looks.thumbnail(path),
            seen.location,
            seen.scale,
            seen.crops,
            f"{best}, {seen.probabilities[best]:.0%}",
        )

    def log(self, paths: Iterable[str | Path], to: str | Path) -> Path:
        """Every glimpse at these images as CSV (`looks.write_log`)."""
        return looks.write_log((self.predict(path) for path in paths), to)

    def report(self) -> pd.DataFrame:
        """Test accuracy of each row, and what looking adds to it, per cent.

        Differences are between the same images; their standard error is that of a mean
        over test images. It does not know what another training would give.
        """
        mine, lines = np.array(self.right["saccading"]), {}
        for row, right in self.right.items():
            difference = 100 * (mine.astype(float) - np.array(right))
            more = _with_error(difference) if row != "saccading" else "–"
            share = _with_error(100 * np.array(right, float))
            lines[NAMES[row]] = {"right, %": share, "looking adds": more}
        table = pd.DataFrame.from_dict(lines, orient="index")
        table.index.name = f"{len(mine)} test images"
        return table

    def verdict(self) -> str:
        """Two lines: whether glimpses pay on these images, and whether choosing their
        places does, where that control was trained. A difference within twice its
        standard error decides nothing.
        """
        said = [self._gain("Glimpses", "proxy only", "the proxy alone")]
        if "random" in self.right:
            said.append(self._gain("Chosen places", "random", "random places"))
        return "\n".join(said)

    def _gain(self, what: str, row: str, over: str) -> str:
        gain = np.array(self.right["saccading"], float) - self.right[row]
        mean, error = 100 * gain.mean(), 100 * gain.std(ddof=1) / len(gain) ** 0.5
        if abs(mean) <= 2 * error:
            word = "not decided (more test images would decide it)"
        else:
            word = "they pay" if mean > 0 else "they do harm"
        return f"{what}: {mean:+.1f} ± {error:.1f} points over {over}, {word}."

    def save(self, folder: str | Path) -> Path:
        """Weights as safetensors, and all else as JSON; `load` reads both."""
        folder = Path(folder)
        about = {
            "model": asdict(self.model.config),
            "classes": list(self.classes),
            "decisions": asdict(self.decisions),
            "right": self.right,
            "curves": self.curves,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        weights = self.model.state_dict()
        training.write_tensors(folder / WEIGHTS, weights, {"classes": self.classes})
        exports.write_text(folder / ABOUT, json.dumps(about, indent=1))
        return folder

    def to_onnx(self, folder: str | Path) -> tuple[Path, Path]:
        """Two graphs, ``places.onnx`` and ``answer.onnx`` (`exports.to_onnx`)."""
        return exports.to_onnx(self.model, Path(folder))


def _with_error(values: np.ndarray) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{values.mean():.1f} ± {error:.1f}"


def load(folder: str | Path) -> Trained:
    """What `Trained.save` wrote.

    Raises:
        FileNotFoundError: no saved classifier there.
        ValueError: one of its files is damaged, or they do not belong together.
    """
    folder = Path(folder)
    for name in (WEIGHTS, ABOUT):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: expected what Trained.save wrote there"
            )
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        model = Looking(Config(**about["model"]))
        model = model.to(memory_format=torch.channels_last)  # as trained, to the bit
        weights, _ = training.read_tensors(folder / WEIGHTS)
        model.load_state_dict(weights)
        decided = about["decisions"] | {
            "controls": tuple(about["decisions"]["controls"])
        }
        return Trained(
            model.eval(),
            tuple(about["classes"]),
            Decisions(**decided),
            about["right"],
            about["curves"],
            about["seconds"],
            about["cpu_seconds"],
        )
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{folder} holds no classifier that can be read ({error}): save it again"
        ) from error
