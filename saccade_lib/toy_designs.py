"""Beds on which the best glimpse, and the best sequence of them, can be found exactly.

All images and labels that there are, as a table p(theta, I): equations 1 to 5 of
Harvey, Teng and Wood (2021) become finite sums, and greedy sequences can be held
against the best of all sequences. `design` has the functions of the real pipeline.

Shapes: K labels, M images, L places, V values of a patch, O outcomes of several looks.
A bed's table may have leading axes, a bed each. Entropies are in nats.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from saccade_lib.design import (
    entropy,
    expected_posterior_entropy,
    normalised,
    uncertainty,
)

History = Sequence[tuple[int, int]]  # (l_1, y_1), (l_2, y_2), ...: places, patches
TIE = 1e-12  # nats; places closer than this are equally good, and the first is taken


@dataclass(frozen=True)
class Bed:
    """All images there are, with their labels: p(theta, I) as a table.

    Attributes:
        joint: ``(..., K, M)``, p(theta, I); after `given` p(theta, I, y_{1:t} | l).
        patches: ``(L, M)``, the patch f_fovea(I, l) as a number from 0 to V - 1.
    """

    joint: Tensor
    patches: Tensor

    @cached_property
    def shows(self) -> Tensor:
        """1 where place l of image I shows patch v, ``(L, V, M)``."""
        values = torch.arange(int(self.patches.max()) + 1)[:, None]
        return (self.patches[:, None] == values).to(self.joint.dtype)

    def given(self, history: History) -> "Bed":
        """What is left after some glimpses: the table inside equation 4's integral.

        Raises:
            ValueError: a history that no image of positive probability shows.
        """
        joint = self.joint
        for place, patch in history:
            joint = joint * (self.patches[place] == patch)
        if not (joint.sum(dim=(-1, -2)) > 0).all():
            raise ValueError(f"no image shows {history}: choose patches that occur")
        return replace(self, joint=joint)

    def posterior(self) -> Tensor:
        """p(theta | y_{1:t}, l_{1:t}), ``(..., K)``."""
        return normalised(self.joint.sum(dim=-1))

    def images(self) -> Tensor:
        """p(I | y_{1:t}, l_{1:t}), ``(..., M)``: the completions."""
        return normalised(self.joint.sum(dim=-2))

    def outcomes(self) -> Tensor:
        """p(theta, y_{1:t} | l_{1:t}) for the next place and patch, ``(..., L, V, K)``.

        Equation 4: the images are summed out.
        """
        return torch.einsum("...km,lvm->...lvk", self.joint, self.shows)

    def epe_over_patches(self) -> Tensor:
        """EPE of every next place, ``(..., L)``, over what may be seen (equation 3)."""
        outcomes = self.outcomes()
        p_y = normalised(outcomes.sum(dim=-1))  # (..., L, V)
        return (p_y * entropy(normalised(outcomes))).sum(dim=-1)

    def posteriors(self) -> Tensor:
        """p(theta | f(I, l_{1:t}), l_{1:t}) for every place and image, (..., L, M, K).

        Of use where image I agrees with the history; elsewhere `images` is 0.
        """
        outcomes = normalised(self.outcomes())  # (..., L, V, K)
        index = self.patches[..., None].expand(*outcomes.shape[:-3], -1, -1, 1)
        return outcomes.take_along_dim(index, dim=-2)

    def epe_over_images(self) -> Tensor:
        """EPE of every next place, ``(L,)``, over completions (equation 5)."""
        weights, posteriors = self.images()[None], self.posteriors()[None]
        return expected_posterior_entropy(weights, posteriors)[0]

    def gains(self) -> Tensor:
        """I(theta; y_t | history) of every next place, ``(..., L)``: never negative."""
        return entropy(self.posterior())[..., None] - self.epe_over_patches()

    # Sequences of places. All values are times p(history), so that they add up.

    def split(self) -> "Bed":
        """One bed for each next place and patch: tables ``(..., L, V, K, M)``."""
        return replace(
            self, joint=self.joint[..., None, None, :, :] * self.shows[:, :, None]
        )

    def look_ahead(self, depth: int) -> Tensor:
        """Expected entropy after each next place and the best depth - 1 after it.

        ``(..., L)``; depth 1 is the EPE.
        """
        if depth == 1:
            return uncertainty(self.outcomes()).sum(dim=-1)
        return self.split().look_ahead(depth - 1).amin(dim=-1).sum(dim=-1)

    def choose(self, depth: int) -> Tensor:
        """The place with the lowest `look_ahead`, ``(...)``, the first among equals."""
        value = self.look_ahead(depth)
        least = value.amin(dim=-1, keepdim=True)
        return (value <= least + TIE).to(torch.int8).argmax(dim=-1)

    def follow(self, T: int, depth: int) -> Tensor:
        """Expected entropy after T glimpses, planned anew before each, ``(...)``.

        Args:
            depth: how many glimpses a plan spans: 1 is greedy (the paper's equation 3),
                T is optimal among all adaptive sequences.
        """
        if T == 0:
            return uncertainty(self.joint.sum(dim=-1))
        shown = self.shows[self.choose(min(depth, T))]  # (..., V, M)
        taken = self.joint[..., None, :, :] * shown[..., None, :]  # (..., V, K, M)
        return replace(self, joint=taken).follow(T - 1, depth).sum(dim=-1)

    def wander(self, T: int) -> Tensor:
        """Expected entropy after T places drawn uniformly, repeats allowed, (...)."""
        if T == 0:
            return uncertainty(self.joint.sum(dim=-1))
        return self.split().wander(T - 1).sum(dim=-1).mean(dim=-1)

    def after(self, places: Sequence[int]) -> "Bed":
        """A bed for each outcome of looks at these places: tables (..., O, K, M).

        O = V ** len(places), the first place's patch varying slowest.
        """
        joint = self.joint[..., None, :, :]
        for place in places:
            joint = joint[..., None, :, :] * self.shows[place][:, None]
            joint = joint.flatten(-4, -3)
        return replace(self, joint=joint)

    def fixed(self, places: Sequence[int]) -> Tensor:
        """Expected entropy after a look at these places whatever is seen, ``(...)``."""
        return uncertainty(self.after(places).joint.sum(dim=-1)).sum(dim=-1)

    def tree(self, T: int, depth: int) -> Iterator[tuple[History, int | None]]:
        """The decisions of `follow`: each history that can occur and the next place.

        Parents before children; a leaf, after T glimpses, has None for its place.
        """
        yield from self._branches((), T, depth)

    def _branches(self, history: History, left: int, depth: int):
        here = self.given(history)
        place = int(here.choose(min(depth, left))) if left else None
        yield history, place
        if place is None:
            return
        for patch, mass in enumerate(here.outcomes()[place].sum(dim=-1)):
            if mass > 0:
                yield from self._branches((*history, (place, patch)), left - 1, depth)


def binary_images(rows: int = 2, columns: int = 3) -> Tensor:
    """Every black and white image, ``(M, 1, rows, columns)``: pixel 0 varies slowest.

    With one pixel a glimpse, its flattened columns are a bed's patches.
    """
    pixels = [*product((0.0, 1.0), repeat=rows * columns)]
    return torch.tensor(pixels, dtype=torch.float64).view(-1, 1, rows, columns)


def gamma_bed(seeds: int | Sequence[int] = 0, K: int = 3) -> Bed:
    """The book's toy: 2 x 3 pixels, one pixel a glimpse, p(theta, I) from Gamma(0.3).

    Args:
        seeds: of NumPy's generator; with several seeds the table is ``(seeds, K, 64)``.
    """
    images = binary_images()
    mass = _drawn(seeds, lambda rng: rng.gamma(0.3, size=(K, len(images))))
    return _bed(mass / mass.sum(dim=(-1, -2), keepdim=True), images)


def naive_bed(seeds: int | Sequence[int] = 0, K: int = 3) -> Bed:
    """Pixels that are independent given the label: p(theta) prod_l p(y_l | theta).

    Uniform p(theta); p(y_l = 1 | theta) is drawn uniformly from [0, 1].
    """
    images = binary_images()
    p = _drawn(seeds, lambda rng: rng.random((K, 1, 6)))  # (..., K, 1, 6)
    pixels = images.flatten(1)
    joint = (pixels * p + (1 - pixels) * (1 - p)).prod(dim=-1) / K
    return _bed(joint, images)


def parity_bed(parts: int, hints: int, epsilon: float) -> Bed:
    """A label that only several pixels together tell, and pixels that hint at it.

    The label is the parity of the last `parts` pixels, fair coins. Each of the first
    `hints` pixels shows it with probability 1/2 + epsilon, on its own.
    """
    if parts < 1 or hints < 0 or not 0 <= epsilon <= 0.5:
        raise ValueError(
            "expected parts >= 1, hints >= 0 and epsilon in [0, 0.5], got "
            f"{parts}, {hints} and {epsilon}"
        )
    images = binary_images(1, hints + parts)
    pixels = images.flatten(1)  # (M, L)
    label = pixels[:, hints:].sum(dim=1) % 2  # (M,)
    right = (pixels[:, :hints] == label[:, None]).double()
    hint = (0.5 + epsilon * (2 * right - 1)).prod(dim=1)
    joint = torch.stack([(label == k) * hint for k in (0, 1)]) / 2**parts
    return _bed(joint, images)


def _bed(joint: Tensor, images: Tensor) -> Bed:
    """One pixel a glimpse."""
    return Bed(joint, images.flatten(1).T.long())


def _drawn(seeds: int | Sequence[int], draw: Callable) -> Tensor:
    """A draw for each seed, on a new first axis; without it for a single seed."""
    if isinstance(seeds, int):
        return torch.tensor(draw(np.random.default_rng(seeds)))
    return torch.tensor(np.stack([draw(np.random.default_rng(s)) for s in seeds]))


def largest_synergy(bed: Bed, sets: bool) -> float:
    """By how much a glimpse can gain *more* after another one than before it, nats.

    Returns diminish where this is not positive. With ``sets`` the gain is the mean
    over what is seen, I(theta; y_l | y_S), and S grows by a place: submodularity of a
    fixed set. Without, it is the gain after one history in particular, which grows by
    one patch: adaptive submodularity.
    """
    places, worst = range(len(bed.patches)), -torch.inf
    for size in places:
        for chosen in combinations(places, size):
            for other in set(places) - set(chosen):
                before, grown = bed.after(chosen), bed.after((*chosen, other))
                less, more = before.gains(), grown.gains()  # (O, L), (O V, L)
                if sets:
                    less, more = (
                        bed.joint.sum(dim=(-1, -2)) @ gain
                        for bed, gain in ((before, less), (grown, more))
                    )
                else:
                    less = less.repeat_interleave(len(more) // len(less), dim=0)
                worst = max(worst, float((more - less).max()))
    return worst
