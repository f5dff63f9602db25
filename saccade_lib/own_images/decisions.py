"""Three decisions: how small the proxy, how large and how many the glimpses, and how to
learn where."""

import math
from dataclasses import dataclass, field

from saccade_lib.data.folders import Folder
from saccade_lib.models.looking import Config
from saccade_lib.train import Schedule

FEW = 10  # images of a class in training, below which places are not learned
FINEST = 2  # pixels of the image that a pixel of a glimpse should not exceed
STEPS = 400, 3_000  # fewest and most
PASSES = 60  # through the images of training, between these


@dataclass(frozen=True)
class Decisions:
    """What is to be trained.

    Attributes:
        proxy: side of the small copy, pixels.
        size, glimpses: side of a glimpse as read, pixels, and how many.
        places: how places are found: ``"reward"``, ``"slope"`` or ``"spread"``
            (`models.looking`).
        scale: side of a glimpse over side of the image; follows from the others.
        steps, batch, rate: of training.
        mirror: show half of the images of training in a mirror. Only where a mirror
            image is of the same class.
        controls: what else is trained, to compare with: ``("random",)`` or ``()``.
        seed: of weights, order and noise.
        reasons: why, by name, for what was not given.
    """

    proxy: int
    size: int
    glimpses: int
    places: str
    scale: float
    steps: int
    batch: int = 24
    rate: float = 3e-3
    mirror: bool = False
    controls: tuple[str, ...] = ("random",)
    seed: int = 0
    reasons: dict[str, str] = field(default_factory=dict, compare=False)

    def model(self, classes: int, places: str | None = None) -> Config:
        """Of the network, or of a control."""
        return Config(
            classes=classes,
            proxy=self.proxy,
            glimpses=self.glimpses,
            size=self.size,
            scale=self.scale,
            places=places or self.places,
        )

    def schedule(self) -> Schedule:
        every = max(20, self.steps // 12)
        return Schedule(self.steps, self.batch, self.rate, validate_every=every)

    def __str__(self) -> str:
        values = {
            "proxy": f"{self.proxy} x {self.proxy} pixels",
            "glimpses": f"{self.glimpses} of {self.size} x {self.size} pixels",
            "scale": f"{self.scale:g} of the image's sides",
            "places": self.places,
            "steps": f"{self.steps:,} of {self.batch} images",
        }
        lines = [
            f"{name:9} {value:26} {self.reasons.get(name, 'as given')}".rstrip()
            for name, value in values.items()
        ]
        return "\n".join(lines)


def decide(
    folder: Folder,
    proxy: int | None = None,
    size: int | None = None,
    glimpses: int | None = None,
    places: str | None = None,
    scale: float | None = None,
    steps: int | None = None,
    **more,
) -> Decisions:
    """Decisions for a folder; what is not given is chosen from its sizes and counts.

    Args:
        more: ``batch``, ``rate``, ``mirror``, ``controls``, ``seed`` of `Decisions`.

    Raises:
        ValueError: a setting that is out of range.
        BadFolder: images smaller than the proxy or a glimpse.
    """
    short = folder.sides()
    middle, least = short[len(short) // 2], short[0]
    why: dict[str, str] = {}
    if proxy is None:
        wanted = 32 if middle < 1024 else 64 if middle < 8192 else 128
        proxy = min(wanted, least // 4 * 4)
        why["proxy"] = f"for shorter sides of {middle:,} pixels, the median"
    n = max(1, proxy // 4)
    if scale is None:
        scale = min(1.0, max(1.25 / n, (size or 32) / middle))
        scale = math.ceil(100 * scale) / 100 if scale < 1 else 1.0
        why["scale"] = f"a little more than a cell of the proxy's {n} x {n}"
    wide = scale * middle
    if size is None:
        size = next((s for s in (32, 48) if wide <= FINEST * s), 64)
        size = min(size, least // 2 * 2)
    pixel = f"a pixel of a glimpse is {max(1.0, wide / size):.1f} of the image"
    if glimpses is None:
        glimpses = 4
        share = min(1.0, glimpses * scale**2)
        why["glimpses"] = f"they see {share:.0%} of the image; {pixel}"
    if places is None:
        places, why["places"] = _places(folder, glimpses, scale)
    batch = more.setdefault("batch", min(24, len(folder.of("train"))))
    if steps is None:
        passes = math.ceil(PASSES * len(folder.of("train")) / batch)
        steps = min(max(passes, STEPS[0]), STEPS[1])
        why["steps"] = f"{steps * batch / len(folder.of('train')):.0f} passes"
    made = Decisions(proxy, size, glimpses, places, scale, steps, reasons=why, **more)
    return checked(folder, made)


def checked(folder: Folder, decisions: Decisions) -> Decisions:
    """The decisions, if the folder's images are large enough and settings in range."""
    decisions.model(len(folder.classes))  # raises ValueError
    if decisions.places == "random":
        raise ValueError("random places are a control: choose reward, slope or spread")
    if strange := set(decisions.controls) - {"random"}:
        raise ValueError(f"no control {strange.pop()!r}: there is 'random'")
    if decisions.batch < 2 or decisions.steps < 1:
        raise ValueError(
            "expected a batch of two images or more and a step or more, got "
            f"{decisions.batch} and {decisions.steps}"
        )
    folder.check_sides(max(decisions.proxy, decisions.size))
    return decisions


def _places(folder: Folder, glimpses: int, scale: float) -> tuple[str, str]:
    fewest = min(folder.count("train").values())
    if glimpses * scale**2 >= 1:
        return "spread", "the glimpses cover the image: nothing to choose"
    if fewest < FEW:
        return "spread", f"{fewest} images of a class are too few to learn where"
    return "reward", "each glimpse is rewarded by how well it names the class"
