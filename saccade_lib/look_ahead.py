"""Better designers of glimpse sequences (ours): what `sequences` leaves to be bought.

* `Ahead` plans two glimpses: what is seen at a first place decides on the second, and a
  first place is worth what is left after both. It imagines looking at each completion
  in turn, and weighs the others anew by how they agree with it there.
* `Labelled` knows the labels of its completions: -log g(theta) in the place of the
  entropy of g.
* `coarse_to_fine` tries every second place, then the neighbours of the best.

Shapes: L places, P of them tried as first ones, N completions, U different ones among
them, K labels, F features; B images.
"""

from copy import copy, deepcopy

import torch
from torch import Tensor

from saccade_lib.design import entropy
from saccade_lib.retrieval import tempered
from saccade_lib.sequences import Cached

# ---- Two glimpses ahead


def two_ahead(weights: Tensor, again: Tensor, after: Tensor) -> Tensor:
    """Entropy expected after a first place and the best second one, ``(P,)``.

    Exact where completions are all images there are, weights their posterior, and
    ``again`` the posterior once more after the patch that each shows.

    Args:
        weights: ``(N,)``, of the completions.
        again: ``(P, N, N)``, weights of completion m (last) once the patch of
            completion n was seen at place p; rows that sum to 1.
        after: ``(P, N, L)``, entropy of the label after looks at p and l on completion
            n; infinite where l is no choice.

    Raises:
        ValueError: shapes that do not fit.
    """
    P, N = len(after), len(weights)
    if after.shape[:2] != (P, N) or again.shape != (P, N, N):
        raise ValueError(
            "expected weights (N,), again (P, N, N) and after (P, N, L), got "
            f"{tuple(weights.shape)}, {tuple(again.shape)} and {tuple(after.shape)}"
        )
    choice = torch.isfinite(after).all(dim=1, keepdim=True)  # (P, 1, L)
    left = again @ torch.where(choice, after, 0)  # (P, N, L): EPE of a second place
    return left.masked_fill(~choice, torch.inf).amin(dim=2) @ weights


def weighed_again(distance: Tensor, weights: Tensor, ess: float) -> Tensor:
    """Weights ``(P, U, U)`` of completions after the patch that each would show.

    No completion completes itself: it knows what comes next.

    Args:
        distance: ``(P, U, U)``, between the patches of completions at each place.
        weights: ``(U,)``, multiples of 1 / N: a completion that was drawn twice counts
            twice.
        ess: effective sample size of the new weights, of N; less where fewer others
            are left.
    """
    P, U, _ = distance.shape
    copies = (weights / weights.min()).round().long()
    of = torch.arange(U).repeat_interleave(copies)  # (N,)
    same = of[:, None] == of
    others = int((~same).sum(dim=1).min())
    if others < 1:  # a single completion: a patch tells nothing of it
        return weights.expand(P, U, U)
    d = distance[:, :, of].flatten(0, 1)  # (P U, N)
    own = (torch.arange(U)[:, None] == of).repeat(P, 1)
    found, _ = tempered(d, own, min(ess, others))
    return found.new_zeros(P * U, U).index_add_(1, of, found).view(P, U, U)


class Ahead(Cached):
    """A scorer for `sequences.design_sequences` that plans two glimpses.

    It tries the places that one glimpse alone likes best; all others are infinitely bad
    to it. The last glimpse has none behind it, and is planned as ever.

    Args:
        scorer: of which it takes over g, the database, and what g made of its patches.
        glimpses: T.
        keep: how many first places are tried.
        ess: of the completions after an imagined look; None plans both places at once,
            whatever the first will show.
    """

    def __init__(
        self,
        scorer: Cached,
        glimpses: int,
        keep: int = 8,
        ess: float | None = 8.0,
    ):
        take_over(self, scorer)
        if keep < 1 or (ess is not None and ess < 1):
            raise ValueError(f"keep and ess must be 1 or more, got {keep} and {ess}")
        self.glimpses, self.keep, self.ess = glimpses, keep, ess

    @torch.no_grad()
    def epe(self, image, places, candidates, weights) -> Tensor:
        one = super().epe(image, places, candidates, weights)  # (L,)
        seen = places.unique()
        if len(seen) + 2 > self.glimpses:
            return one
        first = one.scatter(0, seen, torch.inf).argsort(stable=True)
        first = first[: min(self.keep, len(one) - len(seen))]  # (P,)
        after = self.after(image, seen, first, candidates)
        again = weights.expand(len(first), len(weights), -1)
        if self.ess is not None:
            again = weighed_again(self.apart(first, candidates), weights, self.ess)
        found = torch.full_like(one, torch.inf)
        found[first] = two_ahead(weights, again, after)
        return found

    def after(self, image, seen, first, candidates) -> Tensor:
        """Entropy after a first place and each second one, ``(P, U, L)``."""
        e = self.shown(candidates)  # (U, L, F)
        total = seen_total(self, image, seen) + e  # (U, L, F)
        count = torch.tensor(len(seen) + 2)
        found = []
        for place in first.tolist():
            both = total + e[:, place : place + 1]
            H = [self._entropy(x, count) for x in both.split(self._chunk())]
            H = torch.cat(H)  # (U, L)
            self.evaluations += H.numel()
            H[:, seen] = H[:, place] = torch.inf
            found.append(H)
        return torch.stack(found)

    def apart(self, first, candidates) -> Tensor:
        """Squared distances between completions at each first place, ``(P, U, U)``."""
        made = self.database.candidates(candidates)
        patches = self.g.grid.patches(made, first.expand(len(made), -1))
        flat = patches.flatten(2).transpose(0, 1)  # (P, U, C S S)
        return torch.cdist(flat, flat).square()

    def first_map(self, count: int) -> Tensor:
        """`sequences.first_map` of two glimpses, over so many images at once, (L,)."""
        base = self.database
        index = torch.linspace(0, base.M - 1, min(count, base.M)).long()
        nothing = torch.zeros(0, dtype=torch.long)
        weights = torch.full((len(index),), 1 / len(index))
        return self.epe(base.images[0], nothing, index, weights)


def seen_total(scorer: Cached, image: Tensor, seen: Tensor) -> Tensor:
    """The sum of e over the places of an image that were seen, ``(F,)``."""
    net, grid = scorer.g.net, scorer.g.grid
    if not len(seen):
        return torch.zeros(scorer.g.config.features)
    patches = grid.patches(image[None], seen[None])
    return net.embed(net.content(patches), seen[None])[0].sum(dim=0)


# ---- Cross-entropy


class Labelled(Cached):
    """A scorer by -log g(theta) of the completions' own labels, not by H[g].

    Where g is calibrated for these completions, the two agree on average.

    Args:
        scorer: as of `Ahead`.
        labels: ``(M,)``, of the database.
    """

    def __init__(self, scorer: Cached, labels: Tensor):
        take_over(self, scorer)
        if labels.shape != (self.database.M,):
            raise ValueError(
                f"expected a label for each of {self.database.M} images, got "
                f"{tuple(labels.shape)}"
            )
        self.labels = labels

    @torch.no_grad()
    def epe(self, image, places, candidates, weights) -> Tensor:
        return self.both(image, places, candidates, weights)[1]

    @torch.no_grad()
    def both(self, image, places, candidates, weights) -> tuple[Tensor, Tensor]:
        """EPE by entropy and by cross-entropy, ``(L,)`` each, from one reading."""
        e, seen = self.shown(candidates), places.unique()
        label = self.labels[candidates % self.database.M]  # (U,)
        log_g = self._log_g(seen_total(self, image, seen) + e, len(seen) + 1)
        self.evaluations += log_g[..., 0].numel()
        if len(seen):  # nothing new to be seen there
            now = self._log_g(seen_total(self, image, seen), len(seen))
            log_g[:, seen] = now
        of_label = log_g.take_along_dim(label[:, None, None], dim=2)[..., 0]  # (U, L)
        return weights @ entropy(log_g.exp()), weights @ -of_label

    def _log_g(self, total: Tensor, count: int) -> Tensor:
        count = torch.tensor(count)
        hidden = self.g.net.head(total, count.expand(total.shape[:-1]))
        logits, _ = self.g.net.tell(hidden)
        return self.g.tempered(logits, count).log_softmax(dim=-1)


def heated(scorer: Cached, factor: float) -> Cached:
    """The same scorer with g at so many times its temperatures: below 1, too sure."""
    if factor <= 0:
        raise ValueError(f"a temperature's factor must be above 0, got {factor}")
    other = copy(scorer)
    other.g, other.evaluations = deepcopy(scorer.g), 0
    other.g.temperature *= factor
    return other


def take_over(new: Cached, scorer: Cached) -> None:
    """What a scorer has read of its database serves another one too."""
    vars(new).update(vars(scorer) | {"evaluations": 0})


# ---- Fewer places


def coarse_to_fine(
    maps: Tensor, n: int, stride: int = 2, best: int = 3
) -> tuple[Tensor, Tensor]:
    """The lowest place of every `stride`-th row and column, or beside the best of them.

    Args:
        maps: ``(B, n * n)``; infinite where a place must not be taken.
        best: of how many coarse places the eight neighbours are tried.

    Returns:
        places ``(B,)``, the first among equals; and which were tried, ``(B, n * n)``.
    """
    if maps.dim() != 2 or maps.shape[1] != n * n:
        raise ValueError(f"expected maps (B, {n * n}), got {tuple(maps.shape)}")
    line = torch.arange(n)
    on = line % stride == 0
    coarse = (on[:, None] & on).flatten()  # (n n,)
    top = maps.masked_fill(~coarse, torch.inf).argsort(dim=1, stable=True)[:, :best]
    row, column = line.repeat_interleave(n), line.repeat(n)
    near = [(of[top][..., None] - of).abs() <= 1 for of in (row, column)]
    tried = coarse | (near[0] & near[1]).any(dim=1)  # (B, n n)
    return maps.masked_fill(~tried, torch.inf).argmin(dim=1), tried
