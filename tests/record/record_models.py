"""Record what PyTorch's models give in float64: python -m tests.record.record_models (torch 2.13, torchvision 0.28).

Their arrays come from a formula, by their names; torchvision's models are used as they are, or with a smaller stem.
"""

import json
from pathlib import Path

import numpy as np

from tests.support.model_cases import CASES, formula, images, sums


def own():
    from torch import nn

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
            self.conv2 = nn.Conv2d(4, 6, (2, 3), groups=2)
            self.norm, self.line = nn.LayerNorm((6, 3, 2)), nn.LayerNorm(6 * 3 * 2)
            self.fc = nn.Linear(6 * 3 * 2, 5)

        def forward(self, x):
            return self.fc(self.line(self.norm(self.conv2(self.conv1(x).tanh())).relu().flatten(1)))

    return Own()


def layers():
    from torch import nn

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, (3, 2), padding=1)
            self.back = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
            self.skip = nn.Conv2d(6, 6, 3, padding=1)
            self.bn = nn.BatchNorm1d(6 * 16 * 18)
            self.fc1, self.fc2 = nn.Linear(6 * 16 * 18, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.back(self.conv(x).tanh()).tanh()
            return self.fc2(self.fc1(self.bn((self.skip(x) + x).flatten(1))).tanh())

    return Layers()


def lenet5():
    from torch import nn

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x):
            for conv in (self.conv1, self.conv2):
                x = nn.functional.max_pool2d(conv(x).relu(), 2)
            return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())

    return LeNet()


def resnet18(size):
    import torchvision
    from torch import nn

    model = torchvision.models.resnet18(num_classes=10 if size == 32 else 1000)
    if size == 32:
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def vgg11():
    import torchvision
    from torch import nn

    model = torchvision.models.vgg11_bn()
    model.avgpool, model.classifier = nn.Identity(), nn.Linear(512, 10)
    return model


def resnet20():
    """With shortcuts of option A, which torchvision doesn't have."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, nin, nout):
            super().__init__()
            self.stride = nout // nin
            self.conv1 = nn.Conv2d(nin, nout, 3, stride=self.stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(nout)
            self.conv2, self.bn2 = nn.Conv2d(nout, nout, 3, padding=1, bias=False), nn.BatchNorm2d(nout)

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            x = x[:, :, :: self.stride, :: self.stride]
            return (nn.functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])) + y).relu()

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            channels = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2
            self.blocks = nn.Sequential(*[Block(*pair) for pair in channels])
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc(self.blocks(self.bn1(self.conv1(x)).relu()).mean((2, 3)))

    return ResNet()


def wide_resnet():
    """WRN-16-2."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, nin, nout, stride):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(nin), nn.Conv2d(nin, nout, 3, stride, padding=1, bias=False)
            self.bn2, self.conv2 = nn.BatchNorm2d(nout), nn.Conv2d(nout, nout, 3, padding=1, bias=False)
            self.shortcut = nn.Conv2d(nin, nout, 1, stride, bias=False) if nin != nout else None

        def forward(self, x):
            y = self.bn1(x).relu()
            x = x if self.shortcut is None else self.shortcut(y)
            return x + self.conv2(self.bn2(self.conv1(y)).relu())

    class WideResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            sizes = [(16, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
            self.blocks = nn.Sequential(*[Block(*size) for size in sizes])
            self.bn, self.fc = nn.BatchNorm2d(128), nn.Linear(128, 10)

        def forward(self, x):
            return self.fc(self.bn(self.blocks(self.conv1(x))).relu().mean((2, 3)))

    return WideResNet()


MODELS = {
    "own": own,
    "layers": layers,
    "lenet5": lenet5,
    "resnet18, size=32": lambda: resnet18(32),
    "resnet18, size=224": lambda: resnet18(224),
    "resnet20": resnet20,
    "vgg11": vgg11,
    "wide_resnet": wide_resnet,
}


def recorded(name):
    import torch

    _, shape = CASES[name]
    model = MODELS[name]().double().eval()
    arrays = {key: x for key, x in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    model.load_state_dict({key: torch.tensor(formula(key, x.shape)) for key, x in arrays.items()}, strict=True)
    with torch.no_grad():
        y = model(torch.tensor(np.moveaxis(images(shape), -1, 1)))
    return {"parameters": sum(p.numel() for p in model.parameters()), "names": list(arrays), "sums": sums(y.numpy())}


def torchvisions(name):
    """How many parameters a model of torchvision has, and how its arrays are called."""
    import torchvision

    model = getattr(torchvision.models, name)()
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    return {"parameters": sum(p.numel() for p in model.parameters()), "names": names}


TORCHVISION = {"resnet18": "resnet18", "resnet34": "resnet34", "vgg11": "vgg11_bn", "vgg16": "vgg16_bn"}

if __name__ == "__main__":
    found = {"values": {name: recorded(name) for name in MODELS}}
    found["torchvision"] = {ours: torchvisions(theirs) for ours, theirs in TORCHVISION.items()}
    text = json.dumps(found, indent=0) + "\n"
    Path(__file__).parents[1].joinpath("interop.json").write_text(text, encoding="utf-8")
