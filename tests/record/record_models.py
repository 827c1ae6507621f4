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
            self.fc = nn.Linear(6 * 3 * 2, 5)

        def forward(self, x):
            return self.fc(self.conv2(self.conv1(x).tanh()).relu().flatten(1))

    return Own()


def layers():
    from torch import nn

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, (3, 2), padding=1)
            self.back = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
            self.skip = nn.Conv2d(6, 6, 3, padding=1)
            self.fc1, self.fc2 = nn.Linear(16 * 18 * 6, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.back(self.conv(x).tanh()).tanh()
            return self.fc2(self.fc1((self.skip(x) + x).flatten(1)).tanh())

    return Layers()


MODELS = {"own": own, "layers": layers}


def recorded(name):
    import torch

    _, _, shape = CASES[name]
    model = MODELS[name]().double().eval()
    arrays = {key: x for key, x in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    model.load_state_dict({key: torch.tensor(formula(key, x.shape)) for key, x in arrays.items()}, strict=True)
    with torch.no_grad():
        y = model(torch.tensor(np.moveaxis(images(shape), -1, 1)))
    return {"parameters": sum(p.numel() for p in model.parameters()), "names": list(arrays), "sums": sums(y.numpy())}


if __name__ == "__main__":
    text = json.dumps({name: recorded(name) for name in MODELS}, indent=1) + "\n"
    Path(__file__).parents[1].joinpath("interop.json").write_text(text, encoding="utf-8")
