"""A traversal of an image pyramid in which every sequence of places can be listed.

The design of TNet (Papadopoulos et al. 2021) with some hundred parameters in float64.
Level 1 is the whole image, shrunk; each of its n x n cells may be drawn, read from the
level below, and searched in turn by the same weights. The vectors of all levels, each
with its position, are averaged and classified. What the paper estimates by sampling is
a finite sum here, and the gradient in *every* parameter can be held against it.

`Traversals` is the model on its images; `every_sequence` lists what it may look at.

Shapes: N images, A sequences, D draws of a sequence (over all levels), Y classes, P
parameters; a cell's index counts row by row over the whole grid of its level.
"""

from dataclasses import dataclass
from itertools import permutations, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import estimators

HIDDEN = 3  # width of every layer


@dataclass(frozen=True)
class Step:
    """One use of the location module in each of A sequences: L_j draws from one node.

    Attributes:
        level: of the node whose cells are drawn, 1 for the whole image.
        node: ``(A,)``, which node of that level.
        cells: ``(A, L_j)``, which of its g cells, in the order drawn.
        children: ``(A, L_j)``, the same as nodes of the next level.
    """

    level: int
    node: Tensor
    cells: Tensor
    children: Tensor


def every_sequence(side: int, draws: tuple[int, ...]) -> list[Step]:
    """All sequences of a traversal, one step a use of the location module.

    Args:
        side: n, cells a row.
        draws: how many different cells are drawn of a node, a level with cells to draw.

    Raises:
        ValueError: more draws of a node than it has cells, or none.
    """
    g = side**2
    if not draws or not all(1 <= k <= g for k in draws):
        raise ValueError(f"draws must lie between 1 and the {g} cells, got {draws}")
    counts = []  # draws of each use of the location module, breadth first
    uses = 1
    for k in draws:
        counts += [k] * uses
        uses *= k
    ways = [[*permutations(range(g), k)] for k in counts]
    columns = zip(*product(*ways), strict=True)  # a step's cells in all sequences
    cells = [torch.tensor(column) for column in columns]  # (A, L_j) each
    steps, waiting = [], [(1, torch.zeros(len(cells[0]), dtype=torch.long))]
    for chosen in cells:
        level, node = waiting.pop(0)
        below = children(node[:, None], chosen, level, side)
        steps.append(Step(level, node, chosen, below))
        waiting += [(level + 1, child) for child in below.T]
    return steps


def children(node: Tensor, cell: Tensor, level: int, side: int) -> Tensor:
    """Index in the grid of the next level of a node's cell: n * parent + (row, column).

    Args:
        node: index in the grid of `level`, which has ``side ** (level - 1)`` a row.
        cell: 0 to ``side ** 2 - 1``, broadcast against `node`.
    """
    width = side ** (level - 1)
    row = node // width * side + cell // side
    column = node % width * side + cell % side
    return row * width * side + column


class Traversals(nn.Module):
    """TNet in small on a few images, with its sums written out.

    Attributes:
        images: ``(N, S, S)`` in [0, 1], S = side ** (number of levels).
        labels: ``(N,)``.
        steps: `every_sequence` of the draws.
        temperature: the logits of the location module are divided by it.
        normalise: scale the logits of a node to unit length first, as TNet does.
        stop: keep the location module's gradient from what it reads, as TNet's code
            does and its paper does not say.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        side: int,
        draws: tuple[int, ...],
        classes: int = 3,
    ):
        super().__init__()
        if images.shape[-1] != side ** (len(draws) + 1):
            raise ValueError(
                f"{len(draws) + 1} levels of {side} x {side} cells need images of "
                f"{side ** (len(draws) + 1)} pixels a side, got {tuple(images.shape)}"
            )
        self.images, self.labels, self.side = images, labels, side
        self.steps = every_sequence(side, draws)
        self.temperature, self.normalise, self.stop = 1.0, False, False
        double = {"dtype": torch.float64}
        self.pixel = nn.Linear(1, HIDDEN, **double)
        self.vector = nn.Linear(HIDDEN * side**2, HIDDEN, **double)
        self.position = nn.Linear(HIDDEN + 3, HIDDEN, **double)
        self.hidden = nn.Linear(HIDDEN + HIDDEN + 2, HIDDEN, **double)
        self.location = nn.Linear(HIDDEN, 1, bias=False, **double)
        self.classifier = nn.Linear(HIDDEN, classes, **double)

    def nodes(self, level: int) -> tuple[Tensor, Tensor]:
        """All nodes of a level: features with position ``(N, M, HIDDEN)`` and the
        logits of their cells ``(N, M, g)``, M = side ** (2 level - 2)."""
        n, width = self.side, self.side ** (level - 1)
        blocks = self.images.shape[-1] // (width * n)
        shrunk = F.avg_pool2d(self.images[:, None], blocks)[:, 0]  # (N, width n, ...)
        cells = shrunk.unflatten(2, (width, n)).unflatten(1, (width, n))
        cells = cells.transpose(2, 3).flatten(3).flatten(1, 2)  # (N, M, g)
        maps = self.pixel(2 * cells[..., None] - 1).tanh()  # (N, M, g, HIDDEN)
        vector = self.vector(maps.flatten(2)).tanh()  # (N, M, HIDDEN)
        grid = torch.cartesian_prod(torch.arange(width), torch.arange(width)).double()
        where = F.pad(grid.view(-1, 2), (0, 1), value=level - 1)  # row, column, s
        where = where.expand(len(cells), -1, -1)
        placed = self.position(torch.cat((vector, where), dim=-1)).tanh()
        return placed, self._logits(maps, vector)

    def _logits(self, maps: Tensor, vector: Tensor) -> Tensor:
        """The location module, ``(N, M, g)``: cell, whole, place within the node."""
        if self.stop:
            maps, vector = maps.detach(), vector.detach()
        line = torch.linspace(-1, 1, self.side, dtype=maps.dtype)
        here = torch.cartesian_prod(line, line).expand(*maps.shape[:2], -1, 2)
        whole = vector[:, :, None].expand_as(maps)
        read = self.hidden(torch.cat((maps, whole, here), dim=-1)).tanh()
        logits = self.location(read)[..., 0]
        if self.normalise:
            logits = F.normalize(logits, dim=-1)
        return logits / self.temperature

    def log_draws(self, ordered: bool = True) -> Tensor:
        """log-probability of each draw, ``(N, A, D)``.

        Args:
            ordered: given the draws before it (eq. 9, its u read as an exponent);
                otherwise log p_j(l_k) alone, TNet's first simplification.
        """
        parts = []
        for step in self.steps:
            logits = self.nodes(step.level)[1][:, step.node]  # (N, A, g)
            cells = step.cells.expand(len(logits), -1, -1)
            if ordered:
                parts.append(estimators.ordered_log_probs(logits, cells))
            else:
                parts.append(logits.log_softmax(dim=-1).gather(-1, cells))
        return torch.cat(parts, dim=-1)

    def features(self) -> tuple[Tensor, Tensor]:
        """Of level 1 ``(N, HIDDEN)`` and of attended places ``(N, A, D, HIDDEN)``."""
        attended = [
            self.nodes(step.level + 1)[0][:, step.children] for step in self.steps
        ]
        return self.nodes(1)[0][:, 0], torch.cat(attended, dim=2)

    def log_classes(self) -> tuple[Tensor, Tensor, Tensor]:
        """log p(y | ·): of whole sequences ``(N, A, Y)``, of each attended place alone
        ``(N, A, D, Y)``, and of level 1 alone ``(N, Y)``."""
        first, attended = self.features()
        mean = (first[:, None] + attended.sum(dim=2)) / (attended.shape[2] + 1)
        each = (mean, attended, first)
        return tuple(self.classifier(f).log_softmax(dim=-1) for f in each)

    def log_label(self) -> Tensor:
        """log p(y_i | l, x_i) of the true labels, ``(N, A)``."""
        return self.log_classes()[0][torch.arange(len(self.labels)), :, self.labels]

    def parts(self) -> dict[str, slice]:
        """Which of the P parameters belong to which module, in `jacobian`'s order."""
        modules = {
            "features": (self.pixel, self.vector),
            "position": (self.position,),
            "location": (self.hidden, self.location),
            "classifier": (self.classifier,),
        }
        found, start = {}, 0
        for name, members in modules.items():
            size = sum(w.numel() for module in members for w in module.parameters())
            found[name] = slice(start, start + size)
            start += size
        return found

    def jacobian(self, values: Tensor) -> Tensor:
        """Gradients of each of K values in all parameters, ``(K, P)``."""
        weights = [*self.parameters()]
        each = torch.eye(len(values), dtype=values.dtype)
        slopes = torch.autograd.grad(
            values, weights, each, True, is_grads_batched=True, allow_unused=True
        )
        slopes = [
            torch.zeros(len(values), *weight.shape).to(weight)
            if slope is None
            else slope
            for slope, weight in zip(slopes, weights, strict=True)
        ]
        return torch.cat([slope.flatten(1) for slope in slopes], dim=1)


def traversals(
    side: int = 2, draws: tuple[int, ...] = (2,), N: int = 4, seed: int = 0
) -> Traversals:
    """A small model with random weights on N faint images with one bright cell each.

    The same on every machine. Labels count up, modulo three.
    """
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    size = side ** (len(draws) + 1)
    images = 0.3 * torch.rand(N, size, size, **options)
    for i, cell in enumerate(torch.randint(side**2, (N,), generator=generator)):
        row, column = (int(v) * size // side for v in divmod(int(cell), side))
        bright = images[i, row : row + size // side, column : column + size // side]
        bright += 0.7 * torch.rand(bright.shape, **options)
    model = Traversals(images, torch.arange(N) % 3, side, draws)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(1.5 * torch.randn(weight.shape, **options))
    return model
