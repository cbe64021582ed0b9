"""A diffusion policy as textbooks write it, to measure ours against: Chi et al. 2023, section 3 and appendix.

Each block computes its FiLM from time and observation together, the loop is fed by a DataLoader, the loss is that of DDPM,
and weights are averaged one by one.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

GROUPS = 8
KERNEL = 5
STEPS = 100  # of the diffusion


class Convolution(nn.Sequential):
    """Convolution, GroupNorm and Mish."""

    def __init__(self, inputs: int, outputs: int) -> None:
        convolution = nn.Conv1d(inputs, outputs, KERNEL, padding=KERNEL // 2)
        super().__init__(convolution, nn.GroupNorm(GROUPS, outputs), nn.Mish())


class Block(nn.Module):
    """Two convolutions beside a shortcut, FiLM between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, outputs)
        self.second = Convolution(outputs, outputs)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * outputs))
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (B, outputs, H)."""
        scale, shift = self.film(condition)[..., None].chunk(2, 1)
        return self.second(self.first(x) * scale + shift) + self.shortcut(x)


class Unet(nn.Module):
    """Noise in actions (B, H, A) at steps t (B,), with what was observed (B, D)."""

    def __init__(
        self, actions: int, observed: int, channels: tuple[int, ...], time: int = 64
    ) -> None:
        super().__init__()
        self.time = time
        self.embed = nn.Sequential(nn.Linear(time, 4 * time), nn.Mish(), nn.Linear(4 * time, time))
        condition = time + observed
        sizes = [actions, *channels]
        self.down = nn.ModuleList()
        for inputs, outputs in zip(sizes, channels, strict=False):
            shrink = (
                nn.Conv1d(outputs, outputs, 3, 2, 1) if outputs != channels[-1] else nn.Identity()
            )
            pair = Block(inputs, outputs, condition), Block(outputs, outputs, condition)
            self.down.append(nn.ModuleList([*pair, shrink]))
        last = channels[-1]
        self.middle = nn.ModuleList(Block(last, last, condition) for _ in range(2))
        self.up = nn.ModuleList()
        for inputs, outputs in zip(channels[:0:-1], channels[-2::-1], strict=True):
            grow = nn.ConvTranspose1d(outputs, outputs, 4, 2, 1)
            pair = Block(2 * inputs, outputs, condition), Block(outputs, outputs, condition)
            self.up.append(nn.ModuleList([*pair, grow]))
        self.out = nn.Sequential(
            Convolution(channels[0], channels[0]), nn.Conv1d(channels[0], actions, 1)
        )

    def forward(self, actions: Tensor, t: Tensor, observed: Tensor) -> Tensor:
        """Return (B, H, A)."""
        half = self.time // 2
        angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        condition = torch.cat(
            [self.embed(torch.cat([angles.sin(), angles.cos()], -1)), observed], -1
        )
        x = actions.transpose(1, 2)
        skips = []
        for first, second, shrink in self.down:  # pyright: ignore[reportGeneralTypeIssues]
            x = second(first(x, condition), condition)
            skips.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, condition)
        for first, second, grow in self.up:  # pyright: ignore[reportGeneralTypeIssues]
            x = grow(second(first(torch.cat([x, skips.pop()], 1), condition), condition))
        return self.out(x).transpose(1, 2)


class Pairs(Dataset):
    """Observed numbers (W, D) and actions (W, H, A), one window at a time."""

    def __init__(self, observed: Tensor, actions: Tensor) -> None:
        self.observed = observed
        self.actions = actions

    def __len__(self) -> int:
        """Return W."""
        return len(self.actions)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one window."""
        return self.observed[index], self.actions[index]


def training(net: Unet, pairs: Pairs, batch: int, decay: float = 0.999) -> Iterator[None]:
    """Train for ever, one step at a time."""
    cosine = torch.cos((torch.arange(STEPS + 1) / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2
    kept = cosine[1:] / cosine[0]
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=1e-6)
    averages = [weight.detach().clone() for weight in net.parameters()]
    while True:
        for observed, actions in DataLoader(pairs, batch, shuffle=True, drop_last=True):
            noise = torch.randn_like(actions)
            t = torch.randint(STEPS, (len(actions),))
            share = kept[t].view(-1, 1, 1)
            noisy = share.sqrt() * actions + (1 - share).sqrt() * noise
            loss = functional.mse_loss(net(noisy, t, observed), noise)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                for average, weight in zip(averages, net.parameters(), strict=True):
                    average.mul_(decay).add_(weight, alpha=1 - decay)
            loss.item()
            yield
