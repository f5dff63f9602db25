"""RAM as it is usually written: the other side of the ratio in `run.py`.

Images come one by one through PIL from a data loader, patches are cut one by one from a
padded image, and the place drawn after the last glimpse is scored too. The settings are
those of the much used PyTorch code (8 x 8 patches, six glimpses, batches of 128).
"""

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from saccade_lib._compat import torchvision

transforms = torchvision.transforms
MEAN, STD = 0.1307, 0.3081


class Digits(Dataset):
    """A pack's training digits, each turned into a PIL image and back."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int):
        return self.transform(Image.fromarray(self.images[k])), int(self.labels[k])


def loader(pack, batch: int = 128) -> DataLoader:
    data = Digits(pack.train_images, pack.train_labels)
    return DataLoader(data, batch, shuffle=True, drop_last=True)


def patches(x: Tensor, location: Tensor, size: int) -> Tensor:
    """Square patches ``(B, C, g, g)`` around places ``(B, 2)``, image by image."""
    B, _, H, W = x.shape
    corner = (0.5 * (location + 1) * torch.tensor([W, H])).long()  # (B, 2), pixels
    padded = F.pad(x, (size // 2,) * 4)
    found = []
    for b in range(B):
        left, top = corner[b].tolist()
        found.append(padded[b, :, top : top + size, left : left + size])
    return torch.stack(found)


class Ram(nn.Module):
    def __init__(self, size: int = 8, std: float = 0.05, glimpses: int = 6):
        super().__init__()
        self.size, self.std, self.glimpses = size, std, glimpses
        self.what1, self.what2 = nn.Linear(size**2, 128), nn.Linear(128, 256)
        self.where1, self.where2 = nn.Linear(2, 128), nn.Linear(128, 256)
        self.old, self.new = nn.Linear(256, 256), nn.Linear(256, 256)
        self.hidden, self.mean = nn.Linear(256, 128), nn.Linear(128, 2)
        self.baseline, self.classes = nn.Linear(256, 1), nn.Linear(256, 10)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """The loss of a batch."""
        location = torch.rand(len(x), 2) * 2 - 1
        h = torch.zeros(len(x), 256)
        log_probs, baselines = [], []
        for _ in range(self.glimpses):
            rho = patches(x, location, self.size).flatten(1)
            what = self.what2(F.relu(self.what1(rho)))
            where = self.where2(F.relu(self.where1(location)))
            h = F.relu(self.new(F.relu(what + where)) + self.old(h))
            mean = torch.tanh(self.mean(F.relu(self.hidden(h.detach()))))
            normal = torch.distributions.Normal(mean, self.std)
            drawn = normal.sample()
            log_probs.append(normal.log_prob(drawn).sum(dim=1))
            baselines.append(self.baseline(h.detach()).squeeze(1))
            location = drawn.clamp(-1, 1)
        log_p = F.log_softmax(self.classes(h), dim=1)
        reward = (log_p.argmax(dim=1) == label).float()
        reward = reward[:, None].expand(-1, self.glimpses)
        baseline = torch.stack(baselines, dim=1)
        advantage = reward - baseline.detach()
        reinforce = -(torch.stack(log_probs, dim=1) * advantage).sum(dim=1).mean()
        return (
            F.nll_loss(log_p, label) + F.mse_loss(baseline, reward) + 0.01 * reinforce
        )
