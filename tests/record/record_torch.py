"""Record values of activations and losses, with first and second derivatives, from PyTorch in float64.

Run by hand where torch is installed (recorded with torch 2.13): python -m tests.record.record_torch. It writes
tests/nn/reference.json, which the tests compare with; they need no torch. For a function f of x the derivatives are
those of Σ w·f(x): `first` is its gradient, `second` the gradient of Σ v·first, with fixed weights w and v.
"""

import json
from pathlib import Path

TARGET = Path(__file__).parent.parent / "nn" / "reference.json"
TABLE = [-1e4, -700.0, -100.0, -30.0, -5.0, -1.5, -0.1, 0.0, 1e-3, 0.7, 2.0, 6.0, 25.0, 100.0, 700.0, 1e4]
ROWS = [
    [0.3, -1.2, 2.5, 0.0],
    [1e4, -1e4, 0.0, 1e4],
    [-1e4, -1e4, -1e4 + 1, -9999.5],
    [0.0, 0.0, 0.0, 0.0],
    [40.0, 1.0, -40.0, 39.0],
]
PROBABILITIES = [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.5, 0.0], [1e-9, 0.3, 0.7, 0.0]]
ONEHOT = [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
SOFT = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0], [0.0, 0.1, 0.6, 0.3], [0.9, 0.0, 0.1, 0.0]]
NUMBERS = [[0.3, -1.2, 2.5, 0.0], [1e4, -1e4, 0.4, 3.0], [-0.2, 0.6, 1.5, -1.5], [0.9, 1.1, 40.0, -40.0]]


def main() -> None:
    import torch
    from torch.nn import functional as F

    def numbers(x):
        return (x + torch.zeros_like(x)).tolist()  # also of a zero that has no memory

    def derivatives(f, *lists):
        """The value of f, and the first and second derivatives for each argument, as lists."""
        inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in lists]
        y = f(*inputs)
        w = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
        first = torch.autograd.grad((w * y).sum(), inputs, create_graph=True, materialize_grads=True)
        v = [torch.sin(1 + torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape) for x in inputs]
        product = sum((a * b).sum() for a, b in zip(v, first, strict=True))
        second = [torch.zeros_like(x) for x in inputs]
        if product.requires_grad:
            second = torch.autograd.grad(product, inputs, materialize_grads=True)
        return {
            "inputs": lists,
            "value": numbers(y),
            "first": [numbers(x) for x in first],
            "second": [numbers(x) for x in second],
        }

    eps = torch.finfo(torch.float64).eps
    elementwise = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leakyrelu": lambda x: F.leaky_relu(x, 0.01),
        "elu": F.elu,
        "gelu": lambda x: F.gelu(x, approximate="tanh"),
        "swish": F.silu,
        "softplus": lambda x: -F.logsigmoid(-x),  # F.softplus is linear above a threshold
    }
    rowwise = {
        "softmax": lambda x: F.softmax(x, -1),
        "logsoftmax": lambda x: F.log_softmax(x, -1),
        "logsumexp": lambda x: torch.logsumexp(x, -1),
    }
    losses = {
        "mse": (F.mse_loss, NUMBERS, SOFT),
        "mae": (F.l1_loss, NUMBERS, SOFT),
        "huber": (F.huber_loss, NUMBERS, SOFT),
        "crossentropy": (lambda p, t: -(t * torch.log(p + eps)).sum(-1).mean(), PROBABILITIES, SOFT),
        "crossentropy onehot": (lambda p, t: -(t * torch.log(p + eps)).sum(-1).mean(), PROBABILITIES, ONEHOT),
        "logitcrossentropy": (lambda x, t: -(t * F.log_softmax(x, -1)).sum(-1).mean(), NUMBERS, SOFT),
        "logitcrossentropy onehot": (lambda x, t: -(t * F.log_softmax(x, -1)).sum(-1).mean(), NUMBERS, ONEHOT),
        "binarycrossentropy": (
            lambda p, t: (-t * torch.log(p + eps) - (1 - t) * torch.log(1 - p + eps)).mean(), PROBABILITIES, SOFT,
        ),
        "logitbinarycrossentropy": (F.binary_cross_entropy_with_logits, NUMBERS, SOFT),
        "logitbinarycrossentropy onehot": (F.binary_cross_entropy_with_logits, NUMBERS, ONEHOT),
    }  # fmt: skip
    record = {
        "torch": torch.__version__,
        "activations": {name: derivatives(f, TABLE) for name, f in elementwise.items()}
        | {name: derivatives(f, ROWS) for name, f in rowwise.items()},
        "losses": {name: derivatives(f, x, y) for name, (f, x, y) in losses.items()},
    }
    TARGET.write_text(json.dumps(record, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]") + "\n")


if __name__ == "__main__":
    main()
