"""Learning rules that soften the choice of a place, as surrogate losses.

The reward f is called on points of the simplex: a corner, one-hot, is a choice, and
what lies between is a mixture of places that nobody looks at. A *Gumbel key* is a logit
plus noise; the place with the largest key is a draw from softmax(logits).

As in `estimators`, a function returns a scalar whose automatic gradient is minus the
estimator, averaged over the batch. Shapes: B inputs or draws, n places.

Sources: Bengio et al. (2013), straight-through; Jang et al. (2017) and Maddison et al.
(2017), Gumbel-softmax; Tucker et al. (2017), REBAR; Grathwohl et al. (2018), RELAX.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def exponential(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard exponential noise e; -log e is a Gumbel. Never 0, unlike a uniform."""
    noise = torch.empty(like.shape, dtype=like.dtype, device=generator.device)
    return noise.exponential_(generator=generator).to(like.device)


def straight_through(
    logits: Tensor, places: Tensor, f: Callable[[Tensor], Tensor]
) -> Tensor:
    """Forward one-hot, backward the probabilities. Unbiased only if f is linear.

    Args:
        logits: ``(B, n)``.
        places: ``(B,)``, drawn from them.
        f: from ``(B, n)``, corners of the simplex, to ``(B,)``.
    """
    return -f(_hard(logits.softmax(dim=-1), places)).mean()


def gumbel_softmax(
    logits: Tensor,
    f: Callable[[Tensor], Tensor],
    tau: float,
    generator: torch.Generator,
    hard: bool = False,
) -> Tensor:
    """A soft choice softmax((logits + Gumbel noise) / tau), differentiated through.

    Args:
        f: from ``(B, n)``, points of the simplex, to ``(B,)``.
        hard: forward the largest entry as one-hot, backward the soft choice.
    """
    keys = logits - exponential(logits, generator).log()
    soft = (keys / tau).softmax(dim=-1)  # (B, n)
    return -f(_hard(soft, keys.argmax(dim=-1)) if hard else soft).mean()


def conditional_gumbel(log_p: Tensor, places: Tensor, noise: Tensor) -> Tensor:
    """Keys ``(B, n)`` given which of them is the largest, differentiable in `log_p`.

    The largest of Gumbel keys with normalised logits is a standard Gumbel, and each of
    the others is a Gumbel cut off there. With e standard exponential, the first is
    -log e_b and the others are -log(e_i / p_i + e_b).

    Args:
        log_p: ``(B, n)``, normalised.
        places: ``(B,)``, b.
        noise: ``(B, n)``, e.
    """
    top = noise.gather(1, places[:, None]).log()  # (B, 1)
    others = torch.logaddexp(noise.log() - log_p, top)
    return -torch.where(_one_hot(places, log_p).bool(), top, others)


def relax(
    logits: Tensor,
    f: Callable[[Tensor], Tensor],
    control: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """REBAR and RELAX: the score function with a control variate made of the keys.

    The estimator is (f(b) - c(z')) grad log p(b) + grad c(z) - grad c(z'), with keys z,
    choice b = argmax z and keys z' drawn again given b; unbiased for any control c.

    With `rebar_control` this is REBAR; with a network c it is RELAX, whose parameters
    minimise the mean of ``estimates(..., create_graph=True).square()`` and never this
    loss itself.

    Args:
        logits: ``(B, n)``.
        f, control: from ``(B, n)`` to ``(B,)``; f is called on corners only.
    """
    log_p = logits.log_softmax(dim=-1)
    keys = log_p - exponential(logits, generator).log()  # z
    places = keys.argmax(dim=-1)
    again = conditional_gumbel(log_p, places, exponential(logits, generator))  # z'
    weight = f(_one_hot(places, logits)).detach() - control(again.detach())
    chosen = log_p.gather(1, places[:, None])[:, 0]  # (B,)
    return -(weight * chosen + control(keys) - control(again)).mean()


def rebar_control(
    f: Callable[[Tensor], Tensor], tau: float, scale: float = 1.0
) -> Callable[[Tensor], Tensor]:
    """The control variate of REBAR: f itself on the softened keys."""
    return lambda keys: scale * f((keys / tau).softmax(dim=-1))


def _one_hot(places: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(places, like.shape[-1]).to(like.dtype)


def _hard(soft: Tensor, places: Tensor) -> Tensor:
    """One-hot in value, soft in gradient."""
    return _one_hot(places, soft) + soft - soft.detach()
