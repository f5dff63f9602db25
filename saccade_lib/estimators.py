"""Every learning rule for *where*: gradients of an expectation over random choices.

Wanted is the gradient of E f(x) in the parameters of p(x), where x is a place. Each
function returns a **surrogate loss**, a scalar whose automatic gradient is *minus* the
estimator, averaged over the batch; its value means nothing. Minimise it like any loss.
`estimates` takes it apart again, into one gradient a draw.

Shapes: B inputs (or independent draws), T steps, n places, K or M samples an input.

Rules that go through a soft choice, where f must take points between the corners, stand
in `relaxations`; they can be called from here as well.

Sources: Williams (1992) for the score function; Mnih et al. (2014) and Ba et al. (2014)
for its use on glimpses; Kool et al. (2020), sets without replacement; Bornschein and
Bengio (2015) and Ba et al. (2015), reweighted wake-sleep.
"""

from collections.abc import Callable
from itertools import permutations

import torch
from torch import Tensor

from saccade_lib.relaxations import exponential
from saccade_lib.relaxations import gumbel_softmax as gumbel_softmax
from saccade_lib.relaxations import rebar_control as rebar_control
from saccade_lib.relaxations import relax as relax
from saccade_lib.relaxations import straight_through as straight_through

MOST_IN_A_SET = 6  # the probability of a set is a sum over its k! orders


def estimates(
    loss: Callable[[Tensor], Tensor], parameters: Tensor, create_graph: bool = False
) -> Tensor:
    """The gradient that each draw alone would give, ``(B, ...)``.

    Args:
        loss: takes parameters ``(B, ...)``, a row a draw, and returns the mean over the
            draws of a surrogate loss.
        parameters: ``(B, ...)``; rows may be equal (one policy, B draws) or not.
        create_graph: keep the graph, so that a variance can be differentiated.
    """
    each = parameters.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(each), each, create_graph=create_graph)
    return -len(each) * slope


# ---- The score function and its baselines


def score(log_prob: Tensor, reward: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """REINFORCE: the sum over steps of (reward - baseline) times log pi, negated.

    No gradient flows into reward or baseline. The sample inside `log_prob` must be
    detached too, else the gradient of a Gaussian's mean vanishes.

    Args:
        log_prob: ``(B, T)``, one entry a decision that was *used*.
        reward: ``(B, 1)``, the same for all steps, or ``(B, T)``.
        baseline: a number, ``(B, 1)`` or ``(B, T)``; not a function of the draw.

    Raises:
        ValueError: another shape. A reward ``(B,)`` would broadcast along the steps
            where B = T, and silently credit image 3 with the reward of step 3.
    """
    _check_steps(log_prob, reward=reward, baseline=baseline)
    advantage = (reward - baseline).detach()  # (B, 1) or (B, T)
    return -(advantage * log_prob).sum(dim=1).mean()


def reward_to_go(reward: Tensor) -> Tensor:
    """What is still to come at each of T steps, from their rewards ``(B, T)``."""
    return reward.flip(-1).cumsum(dim=-1).flip(-1)


def leave_one_out(reward: Tensor) -> Tensor:
    """A baseline for M samples an input: the mean of the other M - 1, ``(M, B)``.

    Raises:
        ValueError: not ``(M, B)`` with M of at least 2.
    """
    _check_samples("reward", reward)
    M = len(reward)
    if M < 2:
        raise ValueError(
            "leave_one_out needs two samples an input or more, got reward "
            f"{tuple(reward.shape)}: draw more, or use another baseline"
        )
    return (reward.sum(dim=0) - reward) / (M - 1)


class ExponentialAverage:
    """A baseline that follows the mean reward; one number.

    Use first, update after: ``score(log_prob, reward, average.value)``, then
    ``average.update(reward)``. Updated before, it contains the draw that it is held
    against, and the gradient shrinks by the factor ``decay``.
    """

    def __init__(self, decay: float = 0.9):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay, self.value = decay, 0.0

    def update(self, reward: Tensor) -> None:
        mean = float(reward.detach().mean())
        self.value = self.decay * self.value + (1 - self.decay) * mean


def baseline_loss(baseline: Tensor, reward: Tensor) -> Tensor:
    """Squared error of a learned baseline ``(B, T)``: its minimum is E[R | h_t].

    Args:
        reward: ``(B, 1)`` or ``(B, T)``; no gradient flows into it.
    """
    _check_steps(baseline, reward=reward)
    return (baseline - reward.detach()).square().sum(dim=1).mean()


# ---- Without replacement


def gumbel_top_k(logits: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k different places ``(..., k)`` of n, as drawn one after the other.

    Adding Gumbel noise to the logits and taking the k largest sums is sampling without
    replacement from softmax(logits), in the order drawn.
    """
    n = logits.shape[-1]
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the {n} places, got {k}")
    keys = logits.detach() - exponential(logits, generator).log()
    return keys.topk(k, dim=-1).indices


def ordered_log_probs(logits: Tensor, places: Tensor) -> Tensor:
    """log-probability of each of k draws without replacement, given those before it.

    Its sum over k is log p of the sequence, in the order drawn: draw r has
    p(l_r) / (1 - p(l_1) - ... - p(l_{r-1})). Differentiable, also where one p is
    nearly 1.

    Args:
        logits: ``(..., n)``.
        places: ``(..., k)``, different ones, in the order drawn.

    Returns:
        ``(..., k)``.

    Raises:
        ValueError: more places than there are, or other leading axes.
    """
    if places.shape[:-1] != logits.shape[:-1] or places.shape[-1] > logits.shape[-1]:
        raise ValueError(
            f"places must be {tuple(logits.shape[:-1])} and then at most "
            f"{logits.shape[-1]} different ones, got shape {tuple(places.shape)}"
        )
    left, each = logits, []
    for place in places.split(1, dim=-1):  # (..., 1)
        each.append(left.gather(-1, place) - left.logsumexp(dim=-1, keepdim=True))
        left = left.scatter(-1, place, -torch.inf)
    return torch.cat(each, dim=-1)


def set_prob(p: Tensor, gone: Tensor | float = 0.0) -> Tensor:
    """Probability that k draws without replacement give this set, in any order.

    Exact, by enumeration of all k! orders.

    Args:
        p: ``(..., k)``, probabilities of the members.
        gone: ``(...)``, probability of the places that cannot be drawn.
    """
    k = p.shape[-1]
    if k > MOST_IN_A_SET:
        raise ValueError(
            f"sets of up to {MOST_IN_A_SET} places can be enumerated, got {k}"
        )
    if k == 0:
        return torch.ones_like(p).prod(dim=-1)
    orders = torch.tensor([*permutations(range(k))], device=p.device)  # (k!, k)
    each = p[..., orders]  # (..., k!, k)
    gone = torch.as_tensor(gone, dtype=p.dtype, device=p.device)[..., None, None]
    left = 1 - gone - (each.cumsum(dim=-1) - each)  # what is there before each draw
    left = left.clamp_min(torch.finfo(p.dtype).tiny)  # rounding, where one p is near 1
    return (each / left).clamp_max(1).prod(dim=-1).sum(dim=-1)


def leave_out_ratios(p: Tensor) -> tuple[Tensor, Tensor]:
    """R(S, x) and R(S, x, x') of a set, from the probabilities ``(..., k)`` of members.

    R(S, x) ``(..., k)`` is the probability of S given that x came first, over that of
    S. R(S, x, x') ``(..., k, k)`` is the same once more, with x gone; its diagonal is
    1 (Kool et al. 2020). Then the sum over S of p(x) R(S, x) f(x) estimates E f.
    """
    k = p.shape[-1]
    whole, first, second = set_prob(p), [], []
    for x in range(k):
        others = [i for i in range(k) if i != x]
        without = set_prob(p[..., others], p[..., x])  # (...)
        first.append(without / whole)
        row = []
        for y in range(k):
            rest = [i for i in others if i != y]
            pair = set_prob(p[..., rest], p[..., x] + p[..., y]) if y != x else without
            row.append(pair / without)
        second.append(torch.stack(row, dim=-1))
    return torch.stack(first, dim=-1), torch.stack(second, dim=-2)


def unordered_set(
    logits: Tensor, places: Tensor, reward: Tensor, baseline: bool = True
) -> Tensor:
    """The unordered-set estimator of k places drawn without replacement.

    Args:
        logits: ``(B, n)``.
        places: ``(B, k)``, from `gumbel_top_k`.
        reward: ``(B, k)``, f at these places.
        baseline: subtract the built-in baseline, the set's own estimate of E f with x
            taken for granted. It needs a second place.
    """
    if baseline and places.shape[1] < 2:
        raise ValueError(
            f"a baseline needs sets of two places or more, got {tuple(places.shape)}: "
            "draw more, or pass baseline=False"
        )
    log_p = logits.log_softmax(dim=-1).gather(1, places)  # (B, k)
    p = log_p.detach().exp()
    ratio, second = leave_out_ratios(p)  # (B, k), (B, k, k)
    reward = reward.detach()
    if baseline:
        reward = reward - (second * (p * reward)[:, None, :]).sum(dim=-1)
    return -(p * ratio * reward * log_p).sum(dim=1).mean()


def top_and_rest(logits: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The k most probable places and one drawn from the others, ``(B, k + 1)``."""
    if not 1 <= k < logits.shape[-1]:
        raise ValueError(
            f"k must leave a place of {logits.shape[-1]} to be drawn, got {k}"
        )
    top = logits.detach().topk(k, dim=-1).indices
    others = logits.detach().scatter(-1, top, -torch.inf)
    return torch.cat((top, gumbel_top_k(others, 1, generator)), dim=-1)


def sum_and_sample(logits: Tensor, places: Tensor, reward: Tensor) -> Tensor:
    """Exact on the top places, one draw for the rest (Rao-Blackwell).

    Args:
        places: ``(B, k + 1)``, from `top_and_rest`.
        reward: ``(B, k + 1)``, f at these places.
    """
    log_p = logits.log_softmax(dim=-1).gather(1, places)  # (B, k + 1)
    weight = log_p.detach().exp()
    rest = 1 - weight[:, :-1].sum(dim=1, keepdim=True)
    weight = torch.cat((weight[:, :-1], rest), dim=1)
    return -(weight * reward.detach() * log_p).sum(dim=1).mean()


# ---- Wake-sleep: K samples an input, weighted


def normalised_weights(log_w: Tensor) -> Tensor:
    """Importance weights that sum to 1 over K samples, ``(K, B)``."""
    _check_samples("log_w", log_w)
    return log_w.softmax(dim=0)


def effective_sample_size(weights: Tensor) -> Tensor:
    """1 over the sum of squared weights, ``(B,)``, between 1 and K."""
    _check_samples("weights", weights)
    return 1 / weights.square().sum(dim=0)


def wake_p(log_joint: Tensor, log_w: Tensor) -> Tensor:
    """Gradient of log p(y | x) in the model: the weighted mean of log p(y, l).

    Biased by O(1 / K). The weights carry no gradient.

    Args:
        log_joint: ``(K, B)``, log p(l | x) + log p(y | l, x) of places l from q.
        log_w: ``(K, B)``, log_joint - log q(l).
    """
    return -(normalised_weights(log_w).detach() * log_joint).sum(dim=0).mean()


def wake_q(log_q: Tensor, log_w: Tensor, centred: bool = True) -> Tensor:
    """Gradient of -KL(p(l | y, x) || q) in the proposal, by weighted log q ``(K, B)``.

    Args:
        centred: subtract 1 / K from each weight, the control variate. Under its own
            samples the mean of grad log q is 0, so that the expectation stays.
    """
    weights = normalised_weights(log_w).detach()
    return -((weights - centred / len(weights)) * log_q).sum(dim=0).mean()


# ---- Helpers


def _check_samples(name: str, value: Tensor) -> None:
    if value.dim() != 2:
        raise ValueError(
            f"{name} must be (samples, inputs), got shape {tuple(value.shape)}"
        )


def _check_steps(per_step: Tensor, **others: Tensor | float) -> None:
    """All must be (B, T) or (B, 1), where the first is (B, T); a number may stand."""
    if per_step.dim() != 2:
        raise ValueError(
            f"expected (inputs, steps), got shape {tuple(per_step.shape)}: "
            "add a last axis of 1 for a single step"
        )
    B, T = per_step.shape
    for name, value in others.items():
        if torch.as_tensor(value).shape not in ((), (B, 1), (B, T)):
            raise ValueError(
                f"{name} must be ({B}, 1) or ({B}, {T}), got shape "
                f"{tuple(value.shape)}: add the axis of steps with [:, None]"
            )
