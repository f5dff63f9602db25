"""Every objective of the book on one bed, and every rule that climbs it, as sums.

A policy chooses one of n places of an image; a reader gives class scores for what it
would see there. Both are tables, so that an objective, the mean of a learning rule and
its variance are finite sums: what a method raises, which bound that is, and whether its
gradient is the one of what it raises can be checked instead of quoted.

`World` is the bed. Objectives take a world and log pi and return one value an image.
The rules that climb them are in `toy_rules`, the methods they belong to in `idea_map`.

Shapes: N images, n places, Y classes, m values of the proxy, K or k draws, A outcomes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations_with_replacement, permutations, product

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import estimators
from saccade_lib.design import expected_posterior_entropy
from saccade_lib.toy_designs import Bed

Objective = Callable[..., Tensor]  # (World, log_pi (N, n)) -> (N,)


@dataclass(frozen=True)
class World:
    """Images of which only this is known: what a reader says at each place.

    Attributes:
        scores: ``(N, n, Y)``, class scores of a look at each place.
        label: ``(N,)``.
        proxy: ``(N,)``, from 0 to m - 1. Images with one proxy look alike to a policy.
        chance: ``(N,)``, p(x), sums to 1.
    """

    scores: Tensor
    label: Tensor
    proxy: Tensor
    chance: Tensor

    def __post_init__(self):
        N = len(self.scores)
        if self.scores.dim() != 3 or any(
            each.shape != (N,) for each in (self.label, self.proxy, self.chance)
        ):
            raise ValueError(
                "expected scores (N, n, Y) and label, proxy and chance (N,), got "
                f"{[tuple(v.shape) for v in (self.scores, self.label)]} and "
                f"{[tuple(v.shape) for v in (self.proxy, self.chance)]}"
            )

    @cached_property
    def log_true(self) -> Tensor:
        """log p(y | l, x) of the true class, ``(N, n)``."""
        return self.of_label(self.scores.log_softmax(dim=-1))

    @cached_property
    def right(self) -> Tensor:
        """1 where the likeliest class is the true one, ``(N, n)``."""
        found = self.scores.argmax(dim=-1) == self.label[:, None]
        return found.to(self.scores.dtype)

    def of_label(self, values: Tensor) -> Tensor:
        """The true class's entry of ``(N, ..., Y)``."""
        index = self.label.view(-1, *[1] * (values.dim() - 1))
        return values.gather(-1, index.expand(*values.shape[:-1], 1))[..., 0]

    def policy(self, logits: Tensor) -> Tensor:
        """log pi ``(N, n)`` of a policy that reads the proxy: logits ``(m, n)``."""
        return logits.log_softmax(dim=-1)[self.proxy]

    def mean(self, value: Tensor) -> Tensor:
        """Over images, from ``(N, ...)``."""
        return torch.tensordot(self.chance, value, dims=1)

    def seen_whole(self) -> "World":
        """The same where the policy tells all images apart: a proxy for each."""
        return replace(self, proxy=torch.arange(len(self.label)))


def random_world(
    seed: int, N: int = 6, n: int = 4, Y: int = 3, m: int = 2, spread: float = 2.0
) -> World:
    """Normal scores, uniform labels, as many images of each proxy, in float64."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    scores = spread * torch.randn(N, n, Y, **options)
    label = torch.randint(Y, (N,), generator=generator)
    proxy = torch.randperm(N, generator=generator) % m
    return World(scores, label, proxy, torch.rand(N, **options).softmax(dim=0))


def crossroads() -> World:
    """Two images that a policy cannot tell apart, six places, four classes.

    Places 0 and 1 are clear about one image and mislead about the other; 2 gives the
    truth nearly half, and a wrong class a little more; 3 gives it little, and every
    other class less; 4 and 5 leave two classes each, and only the truth is among both.
    """
    first = [  # p(class | place, image 0), whose class is 0
        [0.95, 0.02, 0.02, 0.01],
        [0.04, 0.01, 0.94, 0.01],
        [0.46, 0.48, 0.03, 0.03],
        [0.30, 0.25, 0.225, 0.225],
        [0.44, 0.05, 0.49, 0.02],
        [0.44, 0.05, 0.02, 0.49],
    ]
    p = torch.tensor(first, dtype=torch.float64)
    other = p[[1, 0, 2, 3, 4, 5]][:, [1, 0, 2, 3]]  # image 1, whose class is 1
    both = torch.stack((p, other)).log()
    nothing = torch.zeros(2, dtype=torch.long)
    return World(both, torch.arange(2), nothing, torch.full((2,), 0.5).double())


def of_bed(bed: Bed) -> World:
    """A bed of `toy_designs` with the reader that is best there: p(theta | patch).

    An image and a label of the bed are one image here, N = K M.
    """
    K, M = bed.joint.shape
    scores = bed.posteriors().log().transpose(0, 1)  # (M, L, K)
    label = torch.arange(K).repeat_interleave(M)
    return World(
        scores.repeat(K, 1, 1), label, torch.zeros_like(label), bed.joint.flatten()
    )


# ---- What is raised


def likelihood(world: World, log_pi: Tensor) -> Tensor:
    """log p(y | x): the places summed out."""
    return (log_pi + world.log_true).logsumexp(dim=1)


def jensen(world: World, log_pi: Tensor) -> Tensor:
    """E log p(y | l, x)."""
    return (log_pi.exp() * world.log_true).sum(dim=1)


def reward(world: World, log_pi: Tensor) -> Tensor:
    """The probability that a drawn place gives the right answer."""
    return (log_pi.exp() * world.right).sum(dim=1)


def importance(
    world: World, log_pi: Tensor, K: int, log_q: Tensor | None = None
) -> Tensor:
    """E log of the mean importance weight of K draws from q, the policy by default.

    The order of draws does not matter, so that the sum is over how often each place
    was drawn.
    """
    log_q = log_pi if log_q is None else log_q
    log_w = log_pi + world.log_true - log_q  # (N, n)
    counts, log_ways = draws(log_pi.shape[1], K)  # (A, n), (A,)
    chance = (log_ways + log_q @ counts.T).exp()  # (N, A)
    share = (counts / K).log()
    return (chance * (log_w[:, None] + share).logsumexp(dim=2)).sum(dim=1)


def features(world: World, log_pi: Tensor) -> Tensor:
    """log f(E): the mean of what all places show, classified."""
    return world.of_label(pooled(world, log_pi).log_softmax(dim=-1))


def selected(world: World, log_pi: Tensor, M: int) -> Tensor:
    """log f of the M likeliest places, weighted as among themselves."""
    kept = log_pi.detach().topk(M, dim=1).indices
    inside = torch.zeros_like(log_pi).scatter(1, kept, 1.0).bool()
    return features(world, log_pi.masked_fill(~inside, -torch.inf).log_softmax(dim=1))


def pooled(world: World, log_pi: Tensor) -> Tensor:
    """Scores averaged over places, ``(N, Y)``."""
    return torch.einsum("nl,nly->ny", log_pi.exp(), world.scores)


def elbo(
    world: World, log_q: Tensor, prior: Tensor, decoder: Tensor
) -> tuple[Tensor, Tensor]:
    """The two parts of Variational Saccading's bound, class and VRNN, ``(N,)`` each.

    Args:
        prior: log p(l), ``(n,)``; decoder: log p(c | l), ``(n, m)``.
    """
    explains = decoder.T[world.proxy] + prior - log_q  # (N, n)
    return jensen(world, log_q), (log_q.exp() * explains).sum(dim=1)


def log_joint(world: World, prior: Tensor, decoder: Tensor) -> Tensor:
    """log p(y, c | x) of the same model: what that bound bounds."""
    return (prior + decoder.T[world.proxy] + world.log_true).logsumexp(dim=1)


def epe(world: World) -> Tensor:
    """Expected posterior entropy of each place, by the reader, ``(m, n)``."""
    same = torch.arange(int(world.proxy.max()) + 1)[:, None] == world.proxy
    weights = same * world.chance
    weights = weights / weights.sum(dim=1, keepdim=True)  # p(x | c), (m, N)
    answers = world.scores.softmax(dim=-1).transpose(0, 1)  # (n, N, Y)
    return expected_posterior_entropy(weights, answers.expand(len(same), -1, -1, -1))


def told(log_pi: Tensor, places: Tensor) -> Tensor:
    """log pi of one known place an image, ``(N,)``."""
    return log_pi.gather(1, places[:, None])[:, 0]


@cache
def draws(n: int, K: int) -> tuple[Tensor, Tensor]:
    """How often each of n places may come in K draws ``(A, n)``, and the logarithm of
    the number of orders in which it does, ``(A,)``."""
    each = torch.tensor([*combinations_with_replacement(range(n), K)])  # (A, K)
    counts = F.one_hot(each, n).sum(dim=1).double()
    ways = torch.lgamma(torch.tensor(K + 1.0).double()) - torch.lgamma(counts + 1).sum(
        1
    )
    return counts, ways


@cache
def tuples(n: int, K: int, again: bool = True) -> Tensor:
    """All sequences ``(A, K)`` of K of n places, with repeats or without."""
    ways = product(range(n), repeat=K) if again else permutations(range(n), K)
    return torch.tensor([*ways])


def sequences(
    world: World, log_pi: Tensor, k: int, again: bool = False
) -> tuple[World, Tensor]:
    """k looks as a single choice among all sequences of k places.

    Scores are averaged over the looks, as TNet averages features. Without `again`
    places are drawn without replacement.
    """
    places = tuples(log_pi.shape[1], k, again)  # (A, k)
    every = places.expand(len(log_pi), -1, -1)
    each = log_pi[:, places]
    if not again:
        spread = log_pi[:, None].expand(-1, len(places), -1)
        each = estimators.ordered_log_probs(spread, every)
    grown = replace(world, scores=world.scores[:, places].mean(dim=2))
    return grown, each.sum(dim=2)


def answered(world: World, log_pi: Tensor) -> dict[str, float]:
    """Share of right answers of one policy, read in three ways.

    By a drawn place; by the class probabilities averaged over places; by the scores
    averaged over places.
    """
    p = torch.einsum("nl,nly->ny", log_pi.exp(), world.scores.softmax(dim=-1))
    ways = {"probabilities": p, "scores": pooled(world, log_pi)}
    found = {"drawn": float(world.mean(reward(world, log_pi)))}
    for name, values in ways.items():
        right = values.argmax(dim=1) == world.label
        found[name] = float(world.mean(right.to(values.dtype)))
    return found


def climb(value: Callable[[Tensor], Tensor], start: Tensor, steps: int = 400) -> Tensor:
    """Logits at a maximum of a scalar, by its exact gradient (Adam's steps)."""
    logits = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        (-value(logits)).backward()
        optimiser.step()
    return logits.detach()
