"""The learning rules for *where* on one image of a `toy_methods.World`, all outcomes.

Each is a surrogate loss of `estimators` with everything that may be drawn and its
probability, so that `judge` has its mean and its variance exactly, beside the gradient
of what the rule is meant to raise.

Shapes: A outcomes, K draws of an outcome, n places.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from saccade_lib import estimators
from saccade_lib import toy_methods as toy
from saccade_lib.toy_methods import World

Scalar = Callable[[Tensor], Tensor]  # of logits (n,)


class Rule(NamedTuple):
    """A learning rule with all its outcomes.

    Attributes:
        places: ``(A, K)``, what may be drawn; a single row where nothing is drawn.
        chance: ``(A,)``, of each row.
        loss: surrogate of ``(A, n)`` logits and `places`, as in `estimators`.
        own: what it is meant to raise.
        reads: looks that one estimate takes.
    """

    places: Tensor
    chance: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    own: Scalar
    reads: int


class Judgement(NamedTuple):
    """Exact properties of a rule.

    Attributes:
        mean: ``(n,)``.
        wanted: ``(n,)``, the gradient of what it is meant to raise.
        bias: largest difference of the two.
        variance: the trace of the covariance.
    """

    mean: Tensor
    wanted: Tensor
    bias: float
    variance: float

    @property
    def noise(self) -> float:
        """Variance over the squared length of the mean."""
        return self.variance / float(self.mean.square().sum())

    @property
    def off(self) -> float:
        """Distance of the mean from what is wanted, over the length of that."""
        length = float(self.wanted.norm())
        return float((self.mean - self.wanted).norm()) / length if length else 0.0


def judge(rule: Rule, logits: Tensor) -> Judgement:
    """Enumerate a rule at a policy's logits ``(n,)``."""
    rows = logits.expand(len(rule.places), -1)
    each = estimators.estimates(lambda L: rule.loss(L, rule.places), rows)  # (A, n)
    mean = rule.chance @ each
    variance = rule.chance @ (each - mean).square().sum(dim=1)
    wanted = slope(rule.own, logits)
    return Judgement(mean, wanted, float((mean - wanted).abs().max()), float(variance))


def slope(value: Scalar, logits: Tensor) -> Tensor:
    """The gradient of a scalar by automatic differentiation, ``(n,)``."""
    leaf = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(value(leaf), leaf)[0]


@dataclass(frozen=True)
class Bench:
    """One image, a policy that learns, and a proposal that knows the label.

    Attributes:
        world: of one image.
        logits: ``(n,)``, of the policy.
        log_q: ``(n,)``, log-probabilities of WSRAM's proposal.
    """

    world: World
    logits: Tensor
    log_q: Tensor

    def __post_init__(self):
        if len(self.world.label) != 1:
            raise ValueError(
                f"a bench takes a world of one image, got {len(self.world.label)}"
            )

    @property
    def log_p(self) -> Tensor:
        return self.logits.log_softmax(dim=0)

    def rules(self) -> dict[str, Rule]:
        """All of them, by name."""
        return self.of_places() | self.of_pairs() | self.weighed() | self.of_features()

    def value(self, objective: toy.Objective, *more) -> Scalar:
        """An objective of this image as a function of logits."""
        return lambda a: objective(self.world, a.log_softmax(dim=0)[None], *more)[0]

    def of_places(self) -> dict[str, Rule]:
        """Drawn places that are rewarded one by one."""
        n, log_p, raised = len(self.logits), self.log_p, self.value(toy.reward)
        right, truth = self.world.right[0], self.world.log_true[0]
        one, two = toy.tuples(n, 1), toy.tuples(n, 2)
        sets = torch.combinations(torch.arange(n), 2)
        p, p_two = log_p.exp(), log_p[two].sum(dim=1).exp()
        of_set = estimators.set_prob(p[sets])

        def score(reward: Tensor, baseline: Callable) -> Callable:
            return lambda L, at: (
                estimators.score(_chosen(L, at), reward[at], baseline(reward[at]))
                / at.shape[1]
            )

        def a_set(L: Tensor, at: Tensor) -> Tensor:
            return estimators.unordered_set(L, at, right[at])

        average, mean = float(p @ right), float(p @ truth)
        bound = self.value(toy.jensen)
        return {
            "0/1, one draw": Rule(one, p, score(right, lambda r: average), raised, 1),
            "0/1, leave one out": Rule(two, p_two, score(right, _others), raised, 2),
            "0/1, mean of both": Rule(two, p_two, score(right, _both), raised, 2),
            "0/1, a set of two": Rule(sets, of_set, a_set, raised, 2),
            "log p, one draw": Rule(one, p, score(truth, lambda r: mean), bound, 1),
        }

    def of_pairs(self) -> dict[str, Rule]:
        """TNet: two cells without replacement, one reward for their averaged scores."""
        pairs = toy.tuples(len(self.logits), 2, again=False)  # (A, 2)
        grown, log_pi = toy.sequences(self.world, self.log_p[None], 2)
        right, chance = grown.right[0], log_pi[0].exp()
        average = float(chance @ right)
        found = (pairs == self.logits.topk(2).indices).all(dim=1)

        def own(a: Tensor) -> Tensor:
            found = toy.sequences(self.world, a.log_softmax(dim=0)[None], 2)
            return toy.reward(*found)[0]

        def score(log_prob: Callable, reward: Tensor) -> Callable:
            return lambda L, at: estimators.score(
                log_prob(L, at).sum(dim=1, keepdim=True), reward[:, None], average
            )

        ordered, short = score(_ordered, right), score(_chosen, right)
        top = score(_chosen, right[found])
        sure = chance.new_ones(1)
        return {
            "pair, drawn in order": Rule(pairs, chance, ordered, own, 2),
            "pair, short form": Rule(pairs, chance, short, own, 2),
            "pair, the top two": Rule(pairs[found], sure, top, own, 2),
        }

    def weighed(self) -> dict[str, Rule]:
        """WSRAM's wake phase for the policy, two draws; and a place that was told."""
        two, truth = toy.tuples(len(self.logits), 2), self.world.log_true[0]

        def wake(log_q: Tensor) -> Rule:
            def loss(L: Tensor, at: Tensor) -> Tensor:
                joint = _chosen(L, at) + truth[at]
                return estimators.wake_p(joint.T, (joint.detach() - log_q[at]).T)

            own = self.value(toy.importance, 2, log_q[None])
            return Rule(two, log_q[two].sum(dim=1).exp(), loss, own, 2)

        best, sure = truth.argmax().view(1, 1), truth.new_ones(1)
        return {
            "weighed, from the policy": wake(self.log_p),
            "weighed, from a proposal": wake(self.log_q),
            "told": Rule(
                best,
                sure,
                lambda L, at: -_chosen(L, at).mean(),
                lambda a: a.log_softmax(dim=0)[best[0, 0]],
                1,
            ),
        }

    def of_features(self) -> dict[str, Rule]:
        """The slope goes through the classifier into averaged scores."""
        n = len(self.logits)
        two, sure = toy.tuples(n, 2), self.logits.new_ones(1)

        def drawn(L: Tensor, at: Tensor) -> Tensor:
            """Attention sampling: scores of two draws, each with the slope of log p."""
            log_p = _chosen(L, at)  # (A, 2)
            share = (log_p - log_p.detach()).exp() / at.shape[1]  # 1/2, with a slope
            scores = (share[..., None] * self.world.scores[0, at]).sum(dim=1)  # (A, Y)
            return -scores.log_softmax(dim=1)[:, self.world.label[0]].mean()

        def exact(own: Scalar) -> Callable:
            return lambda L, at: -torch.stack([own(a) for a in L]).mean()

        every, top = self.value(toy.features), self.value(toy.selected, 2)
        p_two = self.log_p[two].sum(dim=1).exp()
        return {
            "features, two draws": Rule(two, p_two, drawn, every, 2),
            "features, the top two": Rule(two[:1], sure, exact(top), top, n),
            "features, all places": Rule(two[:1], sure, exact(every), every, n),
        }


def _chosen(L: Tensor, at: Tensor) -> Tensor:
    """log p of each of ``(A, K)`` places by itself."""
    return L.log_softmax(dim=1).gather(1, at)


def _ordered(L: Tensor, at: Tensor) -> Tensor:
    """log p of each of ``(A, K)`` places, given those before it are gone."""
    return estimators.ordered_log_probs(L, at)


def _others(reward: Tensor) -> Tensor:
    return estimators.leave_one_out(reward.T).T


def _both(reward: Tensor) -> Tensor:
    return reward.mean(dim=1, keepdim=True)
