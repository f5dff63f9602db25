"""Does looking depend on the image? What a trained policy is worth to other images.

Of each image all K cells are read, and the answer of one and the same classifier with
every set of k of them is noted. Then the policy's places can be dealt anew, without
another reading: to each image those of another, or the most frequent ones to all, or
the best that any fixed map could have been.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import torch
from torch import Tensor

from saccade_lib.models.tnet import TNet, first
from saccade_lib.train import evaluating

MOST_SETS = 5_000  # that are tried on each image
PERMUTATIONS = 1_000
UNIT_OF = {
    "policy_entropy": "bit",
    "policy_unsure": "bit",
    "policy_information": "bit",
    "policy_information_null": "bit",
}


@dataclass
class Looks:
    """What N images say about a policy of k cells of K.

    Attributes:
        sets: all sets of k cells, ascending, ``(S, k)``.
        right: whether the answer with each set is right, ``(N, S)``.
        own: number of the set that the policy chose, ``(N,)``.
        best: the most probable cell, ``(N,)``.
        p: of the cells, ``(N, K)``.
        true: the cell nearest the object, ``(N,)``.
    """

    sets: Tensor
    right: Tensor
    own: Tensor
    best: Tensor
    p: Tensor
    true: Tensor


def every_set(cells: int, k: int) -> Tensor:
    """All sets of k cells, ascending, ``(S, k)``.

    Raises ValueError for more than `MOST_SETS`.
    """
    if comb(cells, k) > MOST_SETS:
        raise ValueError(
            f"{k} of {cells} cells make {comb(cells, k):,} sets; all of up to "
            f"{MOST_SETS:,} are tried: use a coarser grid or fewer locations"
        )
    return torch.tensor([*combinations(range(cells), k)])


@torch.no_grad()
def look(model: TNet, batches: Iterable[dict]) -> Looks:
    """Read every cell of every image, on two levels.

    Args:
        batches: with ``image``, ``label`` and ``centre``, the object's first.
    """
    cells, k = model.config.grid**2, model.config.locations[0]
    sets, found = every_set(cells, k), []
    with evaluating(model):
        for batch in batches:
            seen = model.traverse(batch["image"], (cells,))
            log_p = seen.levels[0].log_p[:, 0]  # (B, K)
            vectors = seen.vectors  # (B, 1 + K, F)
            answers = [answer(model, vectors, of) for of in sets.to(vectors.device)]
            right = torch.stack(answers, dim=1) == batch["label"][:, None]  # (B, S)
            away = torch.cdist(seen.location, batch["centre"][:, :1])[..., 0]  # (B, K)
            ranked = first(log_p, k)  # (B, k)
            own = (ranked.sort(dim=1).values[:, None] == sets.to(ranked)).all(dim=2)
            found.append(
                [right, own.long().argmax(1), ranked[:, 0], log_p.exp(), away.argmin(1)]
            )
    return Looks(sets, *(torch.cat(each).cpu() for each in zip(*found, strict=True)))


def answer(model: TNet, vectors: Tensor, cells: Tensor) -> Tensor:
    """Classes ``(B,)`` with the whole image and these cells ``(k,)``.

    Args:
        vectors: of the whole image and of all its cells, ``(B, 1 + K, F)``.
    """
    chosen = torch.cat((vectors[:, :1], vectors[:, 1 + cells]), dim=1)
    return model.classify(model.join(chosen)).argmax(dim=1)


def measure(looks: Looks) -> dict[str, float]:
    """Per cent right, and bits.

    Returns:
        ``accuracy_own``: with the policy's places. ``accuracy_shuffled``: with those of
        another image, the mean over all others; ``accuracy_shuffled_most``: the best of
        1,000 permutations of the images. ``accuracy_fixed``: all get the k cells that
        are attended most often. ``accuracy_best_fixed``: all get the best set, chosen
        with hindsight. ``accuracy_any``: mean over all sets, that is random places.
        ``accuracy_some``: some set is right, the most that any policy could reach.

        ``policy_entropy``: of the attended cells over all images, at most log2 K.
        ``policy_unsure``: mean entropy of p of the cells of an image.
        ``policy_information``: between the object's cell and the most probable one;
        ``policy_information_null``: its mean over 1,000 permutations, what it is by
        chance on so few images.
    """
    right, own = looks.right.double(), looks.own  # (N, S), (N,)
    N, S = right.shape
    dealt = own.bincount(minlength=S).double()  # (S,)
    mine = right[torch.arange(N), own]  # (N,)
    share = looks.sets[own].flatten().bincount(minlength=looks.p.shape[1]).double()
    frequent = first(share, looks.sets.shape[1]).sort().values  # (k,)
    fixed = int((looks.sets == frequent).all(dim=1).long().argmax())
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(N, generator=generator) for _ in range(PERMUTATIONS)]
    others = torch.stack([right[torch.arange(N), own[i]].mean() for i in orders])
    by_chance = [information(looks.true, looks.best[i]) for i in orders]
    found = {
        "accuracy_own": mine.mean(),
        "accuracy_shuffled": ((right @ dealt - mine) / max(N - 1, 1)).mean(),
        "accuracy_shuffled_most": others.max(),
        "accuracy_fixed": right[:, fixed].mean(),
        "accuracy_best_fixed": right.mean(dim=0).max(),
        "accuracy_any": right.mean(),
        "accuracy_some": looks.right.any(dim=1).double().mean(),
    }
    return {name: 100 * float(value) for name, value in found.items()} | {
        "policy_entropy": float(entropy(share / share.sum())),
        "policy_unsure": float(entropy(looks.p.double()).mean()),
        "policy_information": information(looks.true, looks.best),
        "policy_information_null": sum(by_chance) / len(by_chance),
    }


def entropy(p: Tensor) -> Tensor:
    """In bits, of distributions ``(..., K)``."""
    return torch.special.entr(p).sum(dim=-1) / torch.log(torch.tensor(2.0).double())


def information(a: Tensor, b: Tensor) -> float:
    """Mutual information of two columns of whole numbers ``(N,)``, in bits.

    Of N pairs as counted: never below 0, and above 0 also where nothing depends on
    anything.
    """
    both = torch.zeros(int(a.max()) + 1, int(b.max()) + 1, dtype=torch.float64)
    both.index_put_((a, b), torch.ones(len(a), dtype=torch.float64), accumulate=True)
    both /= len(a)
    parts = (both.sum(dim=1), both.sum(dim=0), both.flatten())
    of_a, of_b, joint = (float(entropy(p)) for p in parts)
    return max(of_a + of_b - joint, 0.0)
