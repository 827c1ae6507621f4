"""Record pooling and normalisation, with first and second derivatives, from PyTorch in float64.

Run by hand where torch is installed (recorded with torch 2.13): python -m tests.record.record_pooling. It writes
tests/nn/pooling.json, which the tests compare with; they need no torch. Each case is recorded under the expression that
is evaluated in tinyflux. For a function f of several arrays `first` are the gradients of Σ w·f², `second` those of
Σ v·first, with fixed weights w and v. Of every array three sums of its numbers are recorded, under different weights.
"""

import json
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "nn" / "pooling.json"
ROWS, LINES, IMAGES, VOLUMES, EVEN, TIES = (5, 4), (2, 7, 3), (2, 5, 6, 4), (2, 4, 5, 3, 2), (2, 4, 6, 4), (2, 6, 6, 2)


def numbers(shape, start=0.0):
    """Numbers between −1 and 1, no two of them the same."""
    return np.sin(start + np.arange(np.prod(shape)) ** 2 * 0.37).reshape(shape)


def inputs(shape, count=1):
    """An image and, if asked for, numbers for each of its channels: a weight and a bias."""
    x = numbers(shape)
    return [np.round(2 * x) / 2 if shape == TIES else x, *(numbers(shape[-1:], k) for k in range(1, count))]


def weights(shape, k):
    return np.cos(k + np.arange(np.prod(shape))).reshape(shape)


def sums(x):
    return [float(np.sum(x * weights(x.shape, k))) for k in (3.0, 4.5, 7.0)]


def cases():
    """For each expression of tinyflux's: the shape of x, how many arrays there are, and the function in PyTorch."""
    import torch
    from torch.nn import functional as F

    pool = {3: (F.max_pool1d, F.avg_pool1d), 4: (F.max_pool2d, F.avg_pool2d), 5: (F.max_pool3d, F.avg_pool3d)}
    for shape in (LINES, IMAGES, VOLUMES, TIES):
        largest, mean = pool[len(shape)]
        for window, stride, pad in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)]:
            options = f"(x, {window}, {stride}, {pad}"
            yield f"maxpool{options})", shape, 1, lambda x, f=largest, o=(window, stride, pad): f(x, *o)
            if shape != TIES:
                yield f"meanpool{options})", shape, 1, lambda x, f=mean, o=(window, stride, pad): f(x, *o)
                yield (
                    f"meanpool{options}, count_pad=False)",
                    shape,
                    1,
                    lambda x, f=mean, o=(window, stride, pad): f(x, *o, count_include_pad=False),
                )
        kinds = {3: ("linear", F.adaptive_avg_pool1d), 4: ("bilinear", F.adaptive_avg_pool2d)}
        linear, adaptive = kinds.get(len(shape), ("trilinear", F.adaptive_avg_pool3d))
        space = tuple(range(2, len(shape)))
        yield "global_maxpool(x)", shape, 1, lambda x, s=space: torch.amax(x, s, keepdim=True)
        yield "global_meanpool(x)", shape, 1, lambda x, s=space: torch.mean(x, s, keepdim=True)
        yield "adaptive_meanpool(x, 1)", shape, 1, lambda x, f=adaptive: f(x, 1)
        yield "upsample(x, 2)", shape, 1, lambda x: F.interpolate(x, scale_factor=2)
        for corners in (True, False):
            yield (
                f'upsample(x, 3, "bilinear", align_corners={corners})',
                shape,
                1,
                lambda x, m=linear, c=corners: F.interpolate(x, scale_factor=3, mode=m, align_corners=c),
            )
    yield "maxpool(x, (3, 2), (2, 1), (1, 0))", IMAGES, 1, lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0))
    yield "meanpool(x, (3, 2), (2, 1), (1, 0))", IMAGES, 1, lambda x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 0))
    yield "adaptive_meanpool(x, (2, 3))", EVEN, 1, lambda x: F.adaptive_avg_pool2d(x, (2, 3))
    yield "upsample(x, (1, 3))", EVEN, 1, lambda x: F.interpolate(x, scale_factor=(1, 3))
    yield from norms()
    yield "pixel_shuffle(x, 2)", EVEN, 1, lambda x: F.pixel_shuffle(x, 2)


def norms():
    from torch.nn import functional as F

    def on_last(f):
        return lambda x, *parameters: f(x.movedim(1, -1), *parameters).movedim(-1, 1)

    for shape, count in [(ROWS, 3), (LINES, 3), (IMAGES, 3), (VOLUMES, 1)]:
        channels = shape[-1]
        affine, filled = ("", "filled({}, weight, bias)(x)") if count == 3 else (", affine=False", "{}(x)")
        batch = filled.format(f"trainmode(BatchNorm({channels}, epsilon=0.001{affine}))")
        yield batch, shape, count, lambda x, *p: F.batch_norm(x, None, None, *p, training=True, eps=1e-3)
        layer = filled.format(f"LayerNorm({channels}{affine})")
        yield layer, shape, count, on_last(lambda x, *p, c=channels: F.layer_norm(x, (c,), *p))
        if channels % 2 == 0:
            group = filled.format(f"GroupNorm({channels}, 2{affine})")
            yield group, shape, count, lambda x, *p: F.group_norm(x, 2, *p)
        if shape != ROWS:
            instance = filled.format(f"InstanceNorm({channels}, affine={count == 3})")
            yield instance, shape, count, lambda x, *p: F.instance_norm(x, None, None, *p)
    yield "LayerNorm(5, 6, 4, affine=False)(x)", IMAGES, 1, lambda x: F.layer_norm(x, x.shape[1:])
    yield "filled(GroupNorm(4, 1, epsilon=0.1), weight, bias)(x)", EVEN, 3, lambda x, *p: F.group_norm(x, 1, *p, 0.1)


def running():
    """Running mean and variance after two batches, and what is made of a third one in inference."""
    import torch

    layer = torch.nn.BatchNorm2d(4, momentum=0.3, dtype=torch.float64)
    first, second, third = (torch.movedim(torch.tensor(numbers(EVEN, k)), -1, 1) for k in (0.0, 1.0, 2.0))
    layer(first), layer(second)
    with torch.no_grad():
        y = layer.eval()(third).movedim(1, -1)
    return {"mean": layer.running_mean.tolist(), "var": layer.running_var.tolist(), "inference": sums(y.numpy())}


def main() -> None:
    import torch

    def recorded(f, arrays):
        given = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = f(torch.movedim(given[0], -1, 1), *given[1:])  # channels come second there
        y = torch.movedim(y, 1, -1)
        w = torch.tensor(weights(tuple(y.shape), 0))
        first = torch.autograd.grad((w * y * y).sum(), given, create_graph=True)
        product = sum((a * torch.tensor(weights(tuple(a.shape), 1))).sum() for a in first)
        second = [torch.zeros_like(x) for x in given]
        if product.requires_grad:
            second = torch.autograd.grad(product, given, materialize_grads=True)
        rest = {"first": first, "second": second}
        return {"value": sums(y.detach().numpy())} | {
            name: [sums(a.detach().numpy()) for a in found] for name, found in rest.items()
        }

    lines = [
        json.dumps([expression, shape, count, recorded(f, inputs(shape, count))])
        for expression, shape, count, f in cases()
    ]
    TARGET.write_text(
        f'{{"torch": "{torch.__version__}", "running": {json.dumps(running())}, "cases": [\n'
        + ",\n".join(lines)
        + "\n]}\n"
    )


if __name__ == "__main__":
    main()
