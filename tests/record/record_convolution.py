"""Record what PyTorch makes of convolutions in float64: python -m tests.record.record_convolution (torch 2.13.0).

Results are large beside what they prove, so of each array two sums are kept: of all elements, and of all with weights.
"""

import json
from pathlib import Path

import numpy as np

from tests.support.convolution_cases import CASES, inputs, sums


def recorded(name, options):
    import torch

    x, w = (torch.tensor(np.moveaxis(a, -1, 1), requires_grad=True) for a in inputs(name, **options))
    named = {"stride": options["stride"], "padding": options["pad"], "dilation": options["dilation"]}
    if name == "conv_transpose":
        named["output_padding"] = options["outpad"]
    y = getattr(torch.nn.functional, f"{name}{x.ndim - 2}d")(x, w, groups=options["groups"], **named)
    (y**3).sum().backward()
    return [sums(np.moveaxis(a.detach().numpy(), 1, -1)) for a in (y, x.grad, w.grad)]


if __name__ == "__main__":
    text = json.dumps([recorded(name, options) for name, options in CASES], indent=0) + "\n"
    Path(__file__).parents[1].joinpath("nn", "convolution.json").write_text(text, encoding="utf-8")
