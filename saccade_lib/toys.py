"""A model of glances in which everything can be summed.

T glances at one small image. A place z_i is one of n cells, a crop o_i is that cell's
pixels, the proxy c is one of m values. Every distribution is a table, so that an
expectation is a finite sum: a bound, an estimator or a gradient can be held against
its exact value instead of against a sample.

A *table over places* has T axes of n entries, the first glance first; a policy is such
a table of log-probabilities, made by `chain` from one table of logits a step.

`Glances` is the model of Variational Saccading (Ramapuram et al. 2019, equations 1 to 5
and 10). `Choice` and `Looks` are smaller: beds on which `estimators` are tested.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from saccade_lib import glimpse


def chain(logits: list[Tensor]) -> Tensor:
    """log q(z_1) q(z_2 | z_1) ... as a table over places, ``(n, ..., n)``.

    Args:
        logits: step i's table has one axis for each of z_1 to z_i; its last axis is
            normalised here.
    """
    total = torch.zeros((), dtype=logits[0].dtype)
    for step, table in enumerate(logits, 1):
        if table.dim() != step:
            raise ValueError(
                f"step {step} needs logits with {step} axes, got {tuple(table.shape)}"
            )
        total = total[..., None] + table.log_softmax(dim=-1)
    return total


def expect(log_q: Tensor, value: Tensor) -> Tensor:
    """E_q[value], a scalar, by summing over all sequences of places."""
    return (log_q.exp() * value).sum()


def kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    """KL(q || p), nats, by summing over all sequences of places."""
    return expect(log_q, log_q - log_p)


def draw(log_q: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places ``(count, T)`` drawn from a table of log-probabilities."""
    flat = log_q.detach().exp().flatten()
    index = torch.multinomial(flat, count, replacement=True, generator=generator)
    return torch.stack(torch.unravel_index(index, log_q.shape), dim=1)


def at(table: Tensor, places: Tensor) -> Tensor:
    """Entries ``(count,)`` of a table over places at ``(count, T)``."""
    return table[tuple(places.T)]


def repeat(logits: Tensor, times: int) -> Tensor:
    """log q of independent draws from softmax(logits), as a table over places."""
    n = len(logits)
    return chain([logits.expand(*(n,) * i) for i in range(1, times + 1)])


def every(log_q: Tensor) -> tuple[Tensor, Tensor]:
    """All sequences of places ``(N, T)`` and their probabilities ``(N,)``."""
    axes = [torch.arange(n) for n in log_q.shape]
    places = torch.cartesian_prod(*axes).view(-1, len(axes))
    return places, log_q.detach().exp().flatten()


def moments(values: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean ``(D,)`` and total variance, the trace of the covariance, of ``(N, D)``.

    Args:
        weight: ``(N,)``, probabilities of the N values; 1 / N each if absent.
    """
    if weight is None:
        weight = torch.full_like(values[:, 0], 1 / len(values))
    mean = weight @ values
    return mean, weight @ (values - mean).square().sum(dim=1)


@dataclass(frozen=True)
class Choice:
    """One choice x among n places, p = softmax(logits), that earns value[x].

    Attributes:
        logits: ``(n,)``.
        value: ``(n,)``, f at each place, not negative.
    """

    logits: Tensor
    value: Tensor

    @property
    def p(self) -> Tensor:
        return self.logits.softmax(dim=0)

    def mean(self) -> Tensor:
        """E f."""
        return self.p @ self.value

    def gradient(self) -> Tensor:
        """The gradient of E f in the logits, ``(n,)``."""
        return self.p * (self.value - self.mean())

    def linear(self, z: Tensor) -> Tensor:
        """f between the corners of the simplex, ``(..., n)``: the straight way."""
        return z @ self.value

    def curved(self, z: Tensor) -> Tensor:
        """Another f with the same values at the corners: (w z - 2)^2."""
        return (z @ (2 - self.value.sqrt()) - 2).square()


def five() -> Choice:
    """Five places with uneven probabilities; the best is not the most probable."""
    logits = torch.tensor([0.5, 0.0, -0.5, 1.0, -1.0], dtype=torch.float64)
    value = torch.tensor([1.0, 0.0, 0.5, 0.2, 0.9], dtype=torch.float64)
    return Choice(logits, value)


@dataclass(frozen=True)
class Looks:
    """Two looks at an image of 2 x 2 black or white pixels: 16 trajectories.

    Attributes:
        image: ``(4,)``, what is seen at each place, 0 or 1.
        first: logits ``(4,)`` of the first place.
        second: logits ``(2, 4, 4)`` of the second, given what was seen and where.
        reward: ``(4, 4)``, for each pair of places.
    """

    image: Tensor
    first: Tensor
    second: Tensor
    reward: Tensor

    def steps(self) -> list[Tensor]:
        """Logits a step, for `chain`: ``(4,)`` and ``(4, 4)``."""
        return [self.first, self.second[self.image, torch.arange(4)]]


def looks(seed: int = 0) -> Looks:
    """Two looks in float64: normal logits, rewards uniform on [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    image = torch.randint(2, (4,), generator=generator)
    first, second = torch.randn(4, **options), torch.randn(2, 4, 4, **options)
    return Looks(image, first, second, torch.rand(4, 4, **options))


@dataclass(frozen=True)
class Glances:
    """One image, the VRNN of its proxy, and a classifier of crops, all in tables.

    The proxy is the sequence c_1, ..., c_T of eq. 10, of which all T happen to equal
    ``proxy``: that is what makes its probability a probability.

    Attributes:
        image: ``(S, S)`` in [0, 1], cut into ``side x side`` cells.
        side: cells a row; n = side**2.
        proxy: c, from 0 to m - 1.
        prior: logits of p(z_i | z_<i, c_<i), a table a step, with the axes z_1, c_1,
            z_2, c_2, ..., z_i.
        decoder: logits of p(c_i | z_<=i, c_<i), with the same axes and then c_i.
        reader: ``(Y, k)``, class scores of a crop of k pixels.
    """

    image: Tensor
    side: int
    proxy: int
    prior: tuple[Tensor, ...]
    decoder: tuple[Tensor, ...]
    reader: Tensor

    @property
    def T(self) -> int:
        return len(self.prior)

    @cached_property
    def crops(self) -> Tensor:
        """o = f_ST(x, z) of every place, ``(n, k)``."""
        pixels = len(self.image) // self.side
        cells = glimpse.grid_cells(
            self.image[None, None].float(), self.side, 1 / self.side, pixels
        )  # (1, n, 1, k ** 0.5, k ** 0.5)
        return cells[0].flatten(1).to(self.image.dtype)

    def log_class(self, y: int) -> Tensor:
        """log p(y | o_1, ..., o_T), a table over places: scores add up over crops."""
        each = self.crops @ self.reader.T  # (n, Y)
        scores = each
        for _ in range(self.T - 1):
            scores = scores[..., None, :] + each  # (n, ..., n, Y)
        return scores.log_softmax(dim=-1)[..., y]

    def log_joint(self) -> Tensor:
        """log p(z_<=T, c_<=T) of the VRNN with the axes z_1, c_1, ..., z_T, c_T."""
        total = torch.zeros((), dtype=self.image.dtype)
        for prior, decoder in zip(self.prior, self.decoder, strict=True):
            total = total[..., None] + prior.log_softmax(dim=-1)  # (..., n)
            total = total[..., None] + decoder.log_softmax(dim=-1)  # (..., n, m)
        return total

    def steps(self) -> list[tuple[Tensor, Tensor]]:
        """log p(z_i | z_<i, c_<i) and log p(c_i | z_<=i, c_<i) at the proxy's value.

        Both are tables over z_1 to z_i, one pair a step: the terms of eq. 10.
        """
        return [
            (self._seen(p.log_softmax(dim=-1)), self._seen(d.log_softmax(dim=-1)))
            for p, d in zip(self.prior, self.decoder, strict=True)
        ]

    def log_vrnn(self) -> Tensor:
        """log p(z_<=T, c_<=T = c), a table over places."""
        return self._seen(self.log_joint())

    def log_proxy(self) -> Tensor:
        """log p(c_1 = c, ..., c_T = c)."""
        return self.log_vrnn().logsumexp(dim=tuple(range(self.T)))

    def log_places(self) -> Tensor:
        """log p(z_<=T | c_<=T = c), the VRNN's exact posterior: the p_phi of eq. 2."""
        return self.log_vrnn() - self.log_proxy()

    def log_label(self, y: int) -> Tensor:
        """log p(y | x), eq. 2 with its crops integrated out: a sum over places."""
        terms = self.log_places() + self.log_class(y)
        return terms.logsumexp(dim=tuple(range(self.T)))

    def log_posterior(self, y: int) -> Tensor:
        """log p(z_<=T | y, x, c): the only q without a gap."""
        return self.log_places() + self.log_class(y) - self.log_label(y)

    def _seen(self, table: Tensor) -> Tensor:
        """The table at c_i = c for each i, so that only the axes of places stay."""
        places, seen = slice(None), self.proxy
        return table[tuple((places, seen)[axis % 2] for axis in range(table.dim()))]


def glances(
    T: int = 2, side: int = 3, pixels: int = 2, classes: int = 3, seed: int = 0
) -> Glances:
    """A small model in float64, the same for every machine.

    A faint image with one bright cell. The proxy says which of its ``side`` columns is
    brightest, and a place explains the proxy best when it lies in that column.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n, m = side**2, side
    image = 0.06 * noise(side * pixels, side * pixels).abs()
    row, column = (int(v) for v in torch.randint(side, (2,), generator=generator))
    bright = (slice(row * pixels, (row + 1) * pixels),)
    bright += (slice(column * pixels, (column + 1) * pixels),)
    image[bright] = 0.5 + 0.5 * torch.rand(
        pixels, pixels, generator=generator, dtype=torch.float64
    )
    image = image.clamp(0, 1)
    proxy = int(image.sum(dim=0).unflatten(0, (side, pixels)).sum(dim=1).argmax())
    explains = torch.eye(m, dtype=torch.float64).repeat(side, 1)  # (n, m)
    prior, decoder, past = [], [], ()
    for _ in range(T):
        prior.append(0.7 * noise(*past, n))
        decoder.append(1.5 * explains + 0.7 * noise(*past, n, m))
        past += (n, m)
    reader = 3 * noise(classes, pixels**2)
    return Glances(image, side, proxy, tuple(prior), tuple(decoder), reader)
