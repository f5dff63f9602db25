"""Recurrent hard attention: RAM (Mnih et al. 2014) and DRAM (Ba et al. 2015), one loop.

At step t a retina reads the image x around a place l_t: g_t. A recurrent core takes
it in, h_t = f(h_{t-1}, g_t), and from h_t a policy draws the next place. The class is
read off the last state alone. The classifier learns by cross-entropy, the policy by the
score function, since no gradient passes a place that was drawn.

    J = E_{l ~ pi}[ R(l) ],   dJ = E[ sum_t (R - b_t) d log pi(l_t | h_{t-1}) ]

T glimpses take T - 1 decisions: the first place is given. (With a context network,
which sees a small version of x, the first place is a decision too.)

Letters: B images, C channels, H x W pixels, T glimpses, D decisions, M runs an image,
k scales of the retina, L x L pixels of a patch, N width of the core, S targets.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import estimators, glimpse
from saccade_lib.models.variational_saccading import CropNet
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating


@dataclass(frozen=True)
class Config:
    """What the papers fix, and what their public codes choose.

    Attributes:
        classes: number of classes of each target.
        channels: C.
        glimpses: T, over all targets.
        size: L; a patch of the finest scale is as many pixels wide.
        scales: k.
        core: ``"rnn"`` (RAM), ``"gru"`` (PS-NOGS), or ``"lstm"``: DRAM's two layers, of
            which the first classifies and the second places.
        read: ``"dense"``, what and where added (RAM); ``"conv"``, convolutions whose
            features are multiplied by those of the place (DRAM); ``"crop"``, the same
            with the crop network of Variational Saccading (ours): one that all
            methods can share.
        crop_width: channels of the first convolution of ``"crop"``.
        width: N.
        features: of a glimpse.
        policy: ``"gaussian"`` around a learned mean, or ``"grid"``: one of n x n cells.
        sigma: standard deviation of ``"gaussian"``, in units of the half-image.
        grid: n of ``"grid"``.
        margin: places are kept this far from the border, half-images; the mean of a
            Gaussian is bounded by it, and what is drawn outside is read at the border.
        context: side of the small image that the context network sees; 0 for none.
            It starts the placing layer only: the classifier sees glimpses alone.
        targets: S, labels predicted one after another, T / S glimpses each.
        runs: M, runs an image in training.
        baseline: ``"learned"`` from the state, ``"leave-one-out"`` of the M runs, or
            ``"none"``.
        reward: ``"right"``: 1 for a right class, else 0; or ``"likelihood"``: log p of
            the class, as the bound of Ba et al. has it.
        weight: of the score function's term.
        places: ``"learned"``; or a control with the same classifier: ``"random"``,
            ``"centre"``, ``"oracle"`` (true centres, read from the batch).
    """

    classes: int
    channels: int = 1
    glimpses: int = 6
    size: int = 8
    scales: int = 1
    core: str = "rnn"
    read: str = "dense"
    crop_width: int = 16
    width: int = 256
    features: int = 128
    policy: str = "gaussian"
    sigma: float = 0.1
    grid: int = 9
    margin: float = 0.0
    context: int = 0
    targets: int = 1
    runs: int = 1
    baseline: str = "learned"
    reward: str = "right"
    weight: float = 0.01
    places: str = "learned"

    def __post_init__(self):
        one_of("core", self.core, ("rnn", "gru", "lstm"))
        one_of("read", self.read, ("dense", "conv", "crop"))
        one_of("policy", self.policy, ("gaussian", "grid"))
        one_of("baseline", self.baseline, ("learned", "leave-one-out", "none"))
        one_of("reward", self.reward, ("right", "likelihood"))
        one_of("places", self.places, ("learned", "random", "centre", "oracle"))
        if self.glimpses % self.targets:
            raise ValueError(
                f"{self.glimpses} glimpses do not divide by {self.targets} targets"
            )
        if self.baseline == "leave-one-out" and self.runs < 2:
            raise ValueError("leave-one-out needs runs of at least 2")
        if self.context and self.core != "lstm":
            raise ValueError("a context network starts the second layer of 'lstm'")
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must be in [0, 1), got {self.margin}")
        if self.sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {self.sigma}")


@dataclass
class Trace:
    """What a batch of runs did; N is the number of images times the runs of each.

    Attributes:
        location: ``(N, T, 2)``, where the retina read, inside [-1, 1].
        action: what was drawn for each decision: ``(N, D, 2)``, not clamped, or cells
            ``(N, D)``; None for a control.
        log_prob: of the actions, ``(N, D)``.
        state: of the classifying layer after each target, ``(N, S, width)``.
        placing: of the placing layer at each decision, detached, ``(N, D, width)``.
        patches: ``(N, T, k C, L, L)``.
    """

    location: Tensor
    action: Tensor | None
    log_prob: Tensor | None
    state: Tensor
    placing: Tensor | None
    patches: Tensor


@dataclass
class Prediction:
    """Class probabilities and the glimpses behind them.

    Attributes:
        probabilities: ``(B, classes)``; with several targets ``(B, S, classes)``.
        location: ``(B, T, 2)``, of the first run.
        scale: ``(B, T)``, side of the finest patch over the image's longer side.
        crops: ``(B, T, k C, L, L)``, of the first run.
    """

    probabilities: Tensor
    location: Tensor
    scale: Tensor
    crops: Tensor


Choose = Callable[[Tensor, int], Tensor]

# --- policies: one interface, two distributions ---------------------------------------


class Gaussian(nn.Module):
    """l ~ N(mu(h), sigma^2), mu bounded. An action is the place *before* it is clamped:

    its density is what the score function differentiates. That of a clamped or squashed
    place is another function, whose slope is wrong.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.sigma, self.reach = config.sigma, 1 - config.margin
        self.head = nn.Sequential(
            nn.Linear(config.width, config.width // 2),
            nn.ReLU(),
            nn.Linear(config.width // 2, 2),
        )
        nn.init.normal_(self.head[-1].weight, std=1e-2)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, h: Tensor) -> Tensor:
        """mu, ``(N, 2)``."""
        return self.reach * torch.tanh(glimpse.precise(self.head(h)))

    def sample(self, mu: Tensor) -> Tensor:
        return (mu + self.sigma * torch.randn_like(mu)).detach()

    def best(self, mu: Tensor) -> Tensor:
        return mu.detach()

    def log_prob(self, mu: Tensor, action: Tensor) -> Tensor:
        """``(N,)``, nats."""
        z = (action - mu) / self.sigma
        return (-0.5 * z**2 - math.log(self.sigma * math.sqrt(2 * math.pi))).sum(dim=-1)

    def place(self, action: Tensor) -> Tensor:
        """Location ``(..., 2)`` of an action."""
        return action.clamp(-self.reach, self.reach)


class Grid(nn.Module):
    """l is one of n x n cells with probability softmax(a(h)); an action is its number.

    Cells are counted row by row from the top left, at the centres that `place` gives.
    """

    def __init__(self, config: Config):
        super().__init__()
        n, reach = config.grid, 1 - config.margin
        self.head = nn.Sequential(
            nn.Linear(config.width, config.width // 2),
            nn.ReLU(),
            nn.Linear(config.width // 2, n * n),
        )
        nn.init.normal_(self.head[-1].weight, std=1e-2)
        nn.init.zeros_(self.head[-1].bias)
        # The outermost windows end where the places may.
        cells = glimpse.grid_locations(n, 1 - reach if reach < 1 else 1 / n)
        self.register_buffer("cells", cells)  # (n * n, 2)

    def forward(self, h: Tensor) -> Tensor:
        """log p, ``(N, n * n)``."""
        return glimpse.precise(self.head(h)).log_softmax(dim=-1)

    def sample(self, log_p: Tensor) -> Tensor:
        # The largest of log p + Gumbel noise is a draw from p.
        u = torch.rand_like(log_p).clamp(min=1e-20)
        return (log_p.detach() - torch.log(-torch.log(u))).argmax(dim=-1)

    def best(self, log_p: Tensor) -> Tensor:
        return log_p.argmax(dim=-1)

    def log_prob(self, log_p: Tensor, action: Tensor) -> Tensor:
        """``(N,)``, nats."""
        return log_p.gather(-1, action[..., None])[..., 0]

    def place(self, action: Tensor) -> Tensor:
        """Location ``(..., 2)`` of an action."""
        return self.cells[action]


POLICIES = {"gaussian": Gaussian, "grid": Grid}

# --- what a glimpse is turned into ----------------------------------------------------


class DenseGlimpse(nn.Module):
    """RAM: g = ReLU(W ReLU(what) + V ReLU(where))."""

    def __init__(self, config: Config):
        super().__init__()
        pixels = config.scales * config.channels * config.size**2
        Fe = config.features
        self.what = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, Fe), nn.ReLU(), nn.Linear(Fe, config.width)
        )
        self.where = nn.Sequential(
            nn.Linear(2, Fe), nn.ReLU(), nn.Linear(Fe, config.width)
        )

    def forward(self, patches: Tensor, location: Tensor) -> Tensor:
        """``(N, width)`` of patches ``(N, k C, L, L)`` at ``(N, 2)``."""
        return F.relu(self.what(patches) + self.where(location))


class ConvGlimpse(nn.Module):
    """DRAM: convolutions of each scale, and g = what * where."""

    def __init__(self, config: Config):
        super().__init__()
        n = (config.size + 1) // 2
        Fe = config.features
        self.what = nn.Sequential(
            nn.Conv2d(config.scales * config.channels, 32, 3, stride=2, padding=1),
            nn.ReLU(),  # (N, 32, L/2, L/2)
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * n * n, config.width),
            nn.ReLU(),
        )
        self.where = nn.Sequential(
            nn.Linear(2, Fe), nn.ReLU(), nn.Linear(Fe, config.width), nn.ReLU()
        )

    def forward(self, patches: Tensor, location: Tensor) -> Tensor:
        """``(N, width)`` of patches ``(N, k C, L, L)`` at ``(N, 2)``."""
        return self.what(patches) * self.where(location)


class CropGlimpse(nn.Module):
    """The crop network of Variational Saccading, and g = what * where."""

    def __init__(self, config: Config):
        super().__init__()
        channels, Fe = config.scales * config.channels, config.features
        self.what = CropNet(channels, config.width, config.crop_width)
        self.where = nn.Sequential(
            nn.Linear(2, Fe), nn.ReLU(), nn.Linear(Fe, config.width), nn.ReLU()
        )

    def forward(self, patches: Tensor, location: Tensor) -> Tensor:
        """``(N, width)`` of patches ``(N, k C, L, L)`` at ``(N, 2)``."""
        return self.what(patches) * self.where(location)


READERS = {"dense": DenseGlimpse, "conv": ConvGlimpse, "crop": CropGlimpse}

# --- cores: state in, state out -------------------------------------------------------


class Rnn(nn.Module):
    """h_t = ReLU(W h_{t-1} + U g_t)."""

    def __init__(self, width: int):
        super().__init__()
        self.old, self.new = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, g: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
        return (F.relu(self.old(state[0]) + self.new(g)),)


class Gru(nn.Module):
    """A gated recurrent unit."""

    def __init__(self, width: int):
        super().__init__()
        self.cell = nn.GRUCell(width, width)

    def forward(self, g: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
        return (self.cell(g, state[0]),)


class Lstm(nn.Module):
    """Two layers: the first reads glimpses and classifies, the second places.

    What the second learns from rewards does not reach the first, or the glimpses: its
    noise would spoil what cross-entropy teaches them.
    """

    def __init__(self, width: int):
        super().__init__()
        self.what = nn.LSTMCell(width, width)
        self.where = nn.LSTMCell(width, width)

    def forward(self, g: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        r, memory, h, c = state
        r, memory = self.what(g, (r, memory))
        h, c = self.where(r.detach(), (h, c))
        return r, memory, h, c


CORES = {"rnn": (Rnn, 1), "gru": (Gru, 1), "lstm": (Lstm, 4)}  # and tensors of a state


class Context(nn.Module):
    """A small version of the whole image, to the first state of the placing layer."""

    def __init__(self, config: Config):
        super().__init__()
        self.side = config.context
        n = (config.context + 3) // 4
        self.net = nn.Sequential(
            nn.Conv2d(config.channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * n * n, config.width),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(glimpse.downsample(x, self.side))  # (B, width)


# --- the model ------------------------------------------------------------------------


class RecurrentAttention(nn.Module):
    """RAM, DRAM, and what lies between them."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.read = READERS[config.read](config)
        core, self.parts = CORES[config.core]
        self.core = core(config.width)
        self.context = Context(config) if config.context else None
        if config.places == "learned":
            self.policy = POLICIES[config.policy](config)
            if config.baseline == "learned":
                self.value = nn.Linear(config.width, 1)
        self.classify = nn.Linear(config.width, config.classes)

    # 1. A run: look, take in, decide (the loop of all three papers).

    def run(
        self, x: Tensor, runs: int = 1, choose: Choose | None = None, batch=None
    ) -> Trace:
        """M runs on each image ``(B, C, H, W)``; run m of image b is row b M + m.

        Args:
            choose: the action of each decision, given what the policy says and the
                decision's number; drawn from the policy by default.
            batch: for the oracle, its ``centre (B, D, 2)``.
        """
        cfg = self.config
        choose = choose or (lambda ahead, d: self.policy.sample(ahead))
        retina = glimpse.Retina(x, cfg.size, cfg.scales)
        state = self._start(x, runs)
        location = self._first(x, runs) if self.context is None else None
        given = self._given(x, runs, batch) if cfg.places != "learned" else None
        steps, decisions, states = [], [], []
        for t in range(cfg.glimpses):
            if given is not None:
                location = given[:, t]
            elif location is None or t > 0:
                location, decision = self._decide(state, choose, len(decisions))
                decisions.append(decision)
            spread = location.unflatten(0, (len(x), runs))  # (B, M, 2)
            patches = retina(spread).flatten(0, 1)  # (N, k C, L, L)
            state = self.core(self.read(patches, location), state)
            steps.append((location, patches))
            if (t + 1) % (cfg.glimpses // cfg.targets) == 0:
                states.append(state[0])
        return self._trace(steps, decisions, states)

    def _start(self, x: Tensor, runs: int) -> tuple[Tensor, ...]:
        zero = x.new_zeros(len(x) * runs, self.config.width)
        state = (zero,) * self.parts
        if self.context is not None:
            seen = self.context(x).repeat_interleave(runs, dim=0)  # (N, width)
            state = (*state[:2], seen, state[3])
        return state

    def _first(self, x: Tensor, runs: int) -> Tensor:
        """A place that no policy chose: anywhere, evenly."""
        u = torch.rand(len(x) * runs, 2, device=x.device, dtype=x.dtype)
        return (1 - self.config.margin) * (2 * u - 1)

    def _given(self, x: Tensor, runs: int, batch) -> Tensor:
        """The places of a control, ``(N, T, 2)``."""
        N, T = len(x) * runs, self.config.glimpses
        reach = 1 - self.config.margin
        if self.config.places == "random":
            u = torch.rand(N, T, 2, device=x.device, dtype=x.dtype)
            return reach * (2 * u - 1)
        if self.config.places == "centre":
            return x.new_zeros(N, T, 2)
        if not batch or "centre" not in batch:
            raise ValueError("the oracle reads the batch's 'centre' (B, D, 2)")
        centre = ordered(batch)[0].to(x.dtype)  # (B, D, 2)
        turn = torch.arange(T, device=x.device) * centre.shape[1] // T
        return centre[:, turn].repeat_interleave(runs, dim=0).clamp(-reach, reach)

    def _decide(self, state: tuple[Tensor, ...], choose: Choose, d: int) -> tuple:
        """The next place, and what is needed to learn from it."""
        h = state[2] if self.parts > 1 else state[0].detach()
        ahead = self.policy(h)
        action = choose(ahead, d)
        log_prob = self.policy.log_prob(ahead, action)  # (N,)
        return self.policy.place(action), (action, log_prob, h.detach())

    def _trace(self, steps, decisions, states) -> Trace:
        location, patches = (torch.stack(s, dim=1) for s in zip(*steps, strict=True))
        action = log_prob = placing = None
        if decisions:
            action, log_prob, placing = (
                torch.stack(d, dim=1) for d in zip(*decisions, strict=True)
            )
        state = torch.stack(states, dim=1)  # (N, S, width)
        return Trace(location, action, log_prob, state, placing, patches)

    # 2. The objective: cross-entropy, the score function, and its baseline.

    def loss(self, batch: dict) -> Loss:
        """Named terms.

        Args:
            batch: ``image (B, C, H, W)`` in [0, 1], ``label (B,)``; with several
                targets ``digits (B, S)`` and ``centre (B, S, 2)``: read left to right.

        Raises:
            ValueError: an image of the wrong rank, channels or range.
        """
        cfg = self.config
        x = glimpse.checked(batch["image"], cfg.channels)
        trace = self.run(x, cfg.runs, batch=batch)
        target = self.targets(batch).repeat_interleave(cfg.runs, dim=0)  # (N, S)
        log_p = glimpse.precise(self.classify(trace.state)).log_softmax(
            dim=2
        )  # (N, S, classes)
        of_target = log_p.gather(2, target[..., None])[..., 0]  # (N, S)
        right = log_p.argmax(dim=2) == target  # (N, S)
        terms = {"class": -of_target.sum(dim=1).mean()}
        metrics = {"train_accuracy": 100 * right.all(dim=1).float().mean()}
        if trace.log_prob is not None:
            terms |= self._of_places(trace, of_target.detach(), right)
        return Loss(terms, metrics)

    def _log_p(self, state: Tensor) -> Tensor:
        """log p(y | glimpses), ``(N, S, classes)``."""
        return glimpse.precise(self.classify(state)).log_softmax(dim=-1)

    def targets(self, batch: dict) -> Tensor:
        """Classes ``(B, S)``: the label, or the digits from left to right."""
        if self.config.targets == 1:
            return batch["label"][:, None]
        return ordered(batch)[1]

    def _of_places(self, trace: Trace, log_p: Tensor, right: Tensor) -> dict:
        cfg = self.config
        reward = right.float() if cfg.reward == "right" else log_p  # (N, S)
        if cfg.reward == "right":  # a sequence ends at its first error
            reward = reward.cumprod(dim=1)
        to_go = estimators.reward_to_go(reward)  # (N, S)
        D, each = trace.log_prob.shape[1], cfg.glimpses // cfg.targets
        # The decision before glimpse t serves the target that t is read for, and later.
        t = torch.arange(cfg.glimpses - D, cfg.glimpses, device=reward.device)
        returns = to_go[:, t // each]  # (N, D)
        found, baseline = {}, 0.0
        if cfg.baseline == "learned":
            baseline = glimpse.precise(self.value(trace.placing)[..., 0])  # (N, D)
            found["baseline"] = F.mse_loss(baseline, returns)
        elif cfg.baseline == "leave-one-out":
            by_run = returns.unflatten(0, (-1, cfg.runs)).transpose(0, 1)  # (M, B, D)
            others = estimators.leave_one_out(by_run.flatten(1))  # (M, B * D)
            baseline = others.view_as(by_run).transpose(0, 1).reshape(returns.shape)
        found["places"] = cfg.weight * estimators.score(
            trace.log_prob, returns, baseline
        )
        return found

    # 3. For a plain user.

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        sample: bool = False,
        batch: dict | None = None,
        runs: int = 1,
    ) -> Prediction:
        """Classify ``(B, C, H, W)`` images in [0, 1] and say where the model looked.

        Args:
            sample: draw places; the policy's mean or likeliest cell otherwise. The
                first place of a model without context is drawn in any case.
            batch: what a control needs (``centre``).
            runs: M; the mean of the *probabilities* of so many runs, at M times the
                cost.
        """
        x = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            best = None if sample else lambda ahead, d: self.policy.best(ahead)
            trace = self.run(x, runs, best, batch)
            p = glimpse.precise(self.classify(trace.state)).softmax(
                dim=2
            )  # (N, S, classes)
        p = p.unflatten(0, (len(x), runs)).mean(dim=1)  # (B, S, classes)
        scale = self.config.size / max(x.shape[-2:])
        location = trace.location[::runs]
        return Prediction(
            p[:, 0] if self.config.targets == 1 else p,
            location,
            location.new_full(location.shape[:2], scale),
            trace.patches[::runs],
        )


def ordered(batch: dict) -> tuple[Tensor, Tensor]:
    """Centres ``(B, D, 2)`` and digits ``(B, D)`` of a batch from left to right."""
    centre, digits = batch["centre"], batch["digits"]
    order = centre[..., 0].argsort(dim=1)  # (B, D)
    return centre.gather(1, order[..., None].expand_as(centre)), digits.gather(1, order)
