"""What TNet's rows on several data sets have in common."""

from dataclasses import replace

from saccade_lib.models import bagnet, imagenet_dram, saccader, tnet
from saccade_lib.train import Schedule


def recipe(pictures: int, epochs: int, rate: float, batch: int = 64) -> Schedule:
    """The paper's: Adam, a tenth of its rate for the last fifth; nothing else.

    Args:
        pictures: of an epoch.
    """
    return Schedule(
        steps=epochs * pictures // batch,
        batch=batch,
        rate=rate,
        warmup=0.0,
        decay=0.0,
        drop_at=0.8,
        clip=1e9,  # none
        weight_decay=0.0,
        validate_every=pictures // batch,
    )


def together(model: tnet.Config) -> tnet.Config:
    """Eq. 1 in the place of eq. 2: no feature is classified or rewarded alone."""
    return replace(model, lambda_c=1.0, lambda_r=1.0)


def rivals(model: tnet.Config) -> dict[str, object]:
    """TNet and what it is compared with, of one size: rows of `digits`, `photographs`.

    Controls, the ablation of section 5.4, true cells in the first 40 % of training
    (ours), the feature extraction on the whole image, Saccader with as many places, and
    DRAM with as many glimpses as wide as a cell.
    """
    shape = dict(classes=model.classes, channels=model.channels, width=model.width)
    k = model.locations[0]
    return {
        "tnet": model,
        "shown": replace(model, shown=0.4),
        "random": replace(model, places="random"),
        "centre": replace(model, places="centre"),
        "oracle": replace(model, places="oracle"),
        "together": together(model),
        "bagnet": bagnet.Config(**shape, blocks=model.blocks, gain=model.gain),
        "saccader": saccader.Config(**shape, blocks=model.blocks, glimpses=k),
        "dram": imagenet_dram.Config(**shape, size=model.base, glimpses=k),
    }
