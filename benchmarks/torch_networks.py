"""PyTorch peers for the measurements: iresnet and MobileFaceNet, with the parameter names of the public definitions.

Never imported by the product; run by an interpreter that has PyTorch. Loads what `recognition/export.py torch` writes.
"""
import math
from typing import Callable, Dict, List, Sequence

import torch
from torch import nn
from torch.nn import functional

STAGES: Dict[str, Sequence[int]] = {"r18": (2, 2, 2, 2), "r34": (3, 4, 6, 3), "r50": (3, 4, 14, 3),
                                    "r100": (3, 13, 30, 3)}


class Unit(nn.Module):
    """BN, 3x3, BN, PReLU, 3x3 at the stride, BN, plus the shortcut."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(given), nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(given, width, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.prelu = nn.PReLU(width)
        self.downsample = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False),
                                        nn.BatchNorm2d(width)) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of both branches."""
        inner = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(inner)) + self.downsample(x)


class ResNet(nn.Module):
    """Stem, four stages, dense layer; the embedding is (n, size)."""

    def __init__(self, counts: Sequence[int], size: int = 512) -> None:
        super().__init__()
        self.conv1, self.bn1, self.prelu = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        given = 64
        for stage, (count, width) in enumerate(zip(counts, (64, 128, 256, 512)), start=1):
            units: List[nn.Module] = [Unit(given, width, 2), *(Unit(width, width, 1) for _ in range(count - 1))]
            self.add_module(f"layer{stage}", nn.Sequential(*units))
            given = width
        self.bn2, self.dropout, self.fc = nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Linear(512 * 49, size)
        self.features = nn.BatchNorm1d(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images scaled to -1..1 in, embeddings out."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.features(self.fc(self.dropout(self.bn2(x)).flatten(1)))


class Block(nn.Module):
    """Convolution, BN and, with `active`, PReLU, as `layers`."""

    def __init__(self, given: int, width: int, side: int, stride: int = 1, groups: int = 1, pad: int = -1,
                 active: bool = True) -> None:
        super().__init__()
        parts: List[nn.Module] = [nn.Conv2d(given, width, side, stride, side // 2 if pad < 0 else pad, groups=groups,
                                            bias=False), nn.BatchNorm2d(width)]
        self.layers = nn.Sequential(*parts, *([nn.PReLU(width)] if active else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        return self.layers(x)


class Bottleneck(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down; the input is added where the shape allows and `residual` says so."""

    def __init__(self, given: int, width: int, groups: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(Block(given, groups, 1), Block(groups, groups, 3, stride, groups),
                                    Block(groups, width, 1, active=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The bottleneck, plus its input for a residual one."""
        return self.layers(x) + x if self.residual else self.layers(x)


class Residuals(nn.Module):
    """`count` residual bottlenecks as `layers`."""

    def __init__(self, count: int, width: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Bottleneck(width, width, groups, 1, True) for _ in range(count)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        return self.layers(x)


class Head(nn.Module):
    """Global depthwise convolution, dense layer without bias, BN, as `layers`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Block(512, 512, 7, 1, 512, 0, False), nn.Flatten(),
                                    nn.Linear(512, size, bias=False), nn.BatchNorm1d(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The embedding."""
        return self.layers(x)


class MobileFaceNet(nn.Module):
    """y1: blocks 1, 4, 6, 2, embedding 128."""

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList([
            Block(3, 64, 3, 2), Block(64, 64, 3, 1, 64), Bottleneck(64, 64, 128, 2, False), Residuals(4, 64, 128),
            Bottleneck(64, 128, 256, 2, False), Residuals(6, 128, 256), Bottleneck(128, 128, 512, 2, False),
            Residuals(2, 128, 256)])
        self.conv_sep, self.features = Block(128, 512, 1), Head(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images scaled to -1..1 in, embeddings out."""
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


def network(name: str) -> nn.Module:
    """The peer of a preset: y1, r18, r34, r50 or r100."""
    return MobileFaceNet() if name == "y1" else ResNet(STAGES[name])


def training_step(name: str, images: torch.Tensor, classes: int, channels_last: bool,
                  compiled: bool = False) -> Callable[[], None]:
    """A step of PyTorch, its network compiled or not: ArcFace (s 64, m 0.5) over `classes` identities, SGD."""
    net = network(name).train()
    inputs = (images / 255 - 0.5) / 0.5
    if channels_last:
        net, inputs = net.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
    if compiled:
        net = torch.compile(net)  # type: ignore[assignment]  # a function of the same signature
    label = torch.randint(0, classes, (len(images),), generator=torch.Generator().manual_seed(0))
    centres = nn.Parameter(torch.randn(classes, net(inputs).shape[1]) * 0.01)
    optimizer = torch.optim.SGD([*net.parameters(), centres], lr=0.01, momentum=0.9, weight_decay=5e-4)
    rows = torch.arange(len(label))

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        cosine = functional.linear(functional.normalize(net(inputs)), functional.normalize(centres))
        target = cosine[rows, label]
        sine = (1 - target * target).clamp(min=0).sqrt()
        moved = torch.where(target > -math.cos(0.5), target * math.cos(0.5) - sine * math.sin(0.5),
                            target - 0.5 * math.sin(0.5))
        logits = cosine.index_put((rows, label), moved) * 64
        functional.cross_entropy(logits, label).backward()
        optimizer.step()
    return run
