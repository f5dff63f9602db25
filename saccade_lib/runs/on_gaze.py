"""Experiments on faces that look at a screen."""

import os
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from saccade_lib import deformable, zoom_measures, zoom_reading
from saccade_lib.data import digits, door, gaze, gaze_capture, gaze_drawing
from saccade_lib.models.readers import Reading
from saccade_lib.runs.experiment import Experiment, batches_of

FOLDER = "SACCADE_GAZECAPTURE"  # environment variable: the folder of a reader's own
FOUND = 2.0  # an eye is found where its box holds so many times its share of pixels
DRAWN = door.Source(
    "drawn-gaze", "embedded", {}, "faces drawn by the library, a stand-in"
)


@dataclass(frozen=True)
class OnGaze(Experiment):
    """A row at one profile whose images are `gaze.Faces`, or GazeCapture's frames.

    Attributes:
        device: ``"iphone"`` or ``"ipad"``.
        side, camera, kept: of `gaze.Faces`.
        own: read a reader's copy of GazeCapture, in ``$SACCADE_GAZECAPTURE``.
    """

    device: str
    _: KW_ONLY
    side: int = 256
    camera: str = "close"
    kept: int = 0
    own: bool = False

    code: ClassVar = (
        digits,
        gaze,
        gaze_drawing,
        gaze_capture,
        deformable,
        zoom_reading,
    )
    unit_of: ClassVar = {"error": "cm", "entropy": "nats", "zoom_at_eyes": ""}
    watch: ClassVar = "-error"

    def find(self, quiet: bool) -> door.Source:
        if not self.own:
            return DRAWN
        if folder := os.environ.get(FOLDER):
            return gaze_capture.gaze_capture(folder, self.device, quiet=quiet)
        raise door.MissingData(
            f"this row reads GazeCapture, of which nothing ships: set {FOLDER} to your "
            "copy, or take the profile standard"
        )

    def canvases(self, pack: door.Source, split: str, seed: int):
        if self.own:
            return gaze_capture.Frames(pack, split, self.side, seed)
        return gaze.Faces(
            self.device, split, self.side, self.camera, kept=self.kept, seed=seed
        )

    def evaluate(self, model, canvases: gaze.Faces, count: int, device) -> dict:
        """Mean distance on the screen, and what the reader made of the eyes.

        Returns:
            ``error``, cm; for a reader `at_eyes`'s means, and with a map its
            ``entropy``.
        """
        found = []
        for batch in batches_of(canvases, count, device, size=100):
            seen = model.predict(batch["image"], batch=batch)
            row = {"error": gaze.error(seen.place, batch["target"].to(seen.place))}
            if seen.reading is not None:
                row |= at_eyes(seen.reading, batch["eyes"])
                if seen.reading.saliency is not None:
                    row["entropy"] = zoom_measures.entropy(seen.reading.saliency)
            found.append(row)
        return {
            name: float(torch.cat([row[name] for row in found]).double().mean())
            for name in found[0]
        }


def at_eyes(seen: Reading, eyes: Tensor) -> dict[str, Tensor]:
    """How much of J the eyes have, ``(B,)`` each.

    Args:
        eyes: boxes ``(B, 2, 4)``.

    Returns:
        ``zoom_at_eyes``: linear, 1 for uniform reading: the square root of their share
        of J's pixels over their share of the image; ``eyes_found``: per cent of the
        two that have at least `FOUND` times the pixels of uniform reading.
    """
    gain = []
    for k in range(2):
        box = eyes[:, k].to(seen.at)
        low, high = box[:, :2].clamp(-1, 1), box[:, 2:].clamp(-1, 1)
        area = (high - low).prod(dim=1) / 4
        inside = zoom_measures.pixels_inside(seen.at, box)
        gain.append(inside / area.clamp(min=1e-6))
    gain = torch.stack(gain, dim=1)  # (B, 2)
    found = 100 * (gain >= FOUND).float().mean(dim=1)
    return {"zoom_at_eyes": gain.mean(dim=1).sqrt(), "eyes_found": found}
