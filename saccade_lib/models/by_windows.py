"""Variational Saccading on images that are never held whole."""

from contextlib import contextmanager

from torch import Tensor

from saccade_lib.models.variational_saccading import (
    Config,
    Prediction,
    VariationalSaccading,
)
from saccade_lib.session import one_of
from saccade_lib.train import Loss


class ByWindows(VariationalSaccading):
    """The same network, for batches that cut their own windows.

    The loop is open: the proxy gives all T places, and then each image is asked for T
    windows and nothing else. A batch holds the ``proxy (B, C, J, J)``, once more as
    ``image``, and ``crop(location, scale, size) -> (B, T, C, L, L)``. How windows are
    cut is the batch's to say; of the samplers that leaves ``"bilinear"``, and
    ``"detached"``, which sends no gradient to the places.
    """

    def __init__(self, config: Config):
        one_of("sampler", config.sampler, ("bilinear", "detached"))
        super().__init__(config)

    def loss(self, batch: dict) -> Loss:
        with self._reading(batch):
            return super().loss(batch)

    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """As of the parent, with proxies for images; the batch is needed."""
        with self._reading(batch):
            return super().predict(images, sample, batch)

    def _cut(self, x: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        o = self._crop(location, scale, self.config.size)
        return o.detach() if self.config.sampler == "detached" else o

    @contextmanager
    def _reading(self, batch: dict | None):
        if not batch or "crop" not in batch:
            raise ValueError("the batch has no 'crop' with which to read its windows")
        self._crop = batch["crop"]
        try:
            yield
        finally:
            del self._crop
