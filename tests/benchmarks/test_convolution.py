"""The networks of benchmarks.convolution are built as they are described, and its contenders do the same."""

import importlib.util

import numpy as np
import pytest

from benchmarks import convolution
from tinyflux.compile.backends.c.build import available


def test_parameters():
    """The papers' counts: He et al.'s ResNet20 with shortcuts of 1 × 1, the ResNet18 for 32 × 32 images, LeNet-5."""
    counts = {name: sum(x.size for x in convolution.arrays(layers)) for name, layers in convolution.NETWORKS.items()}
    assert counts["ResNet18"] == 11_173_962
    assert counts["ResNet20"] == 272_474
    assert counts["LeNet-5"] == 61_706


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_contenders_agree():
    cell = convolution.Images("LeNet-5", 2)
    losses = []
    for needed, make in convolution.PEERS.values():
        if importlib.util.find_spec(needed):
            run, _ = make(cell, cell.batches(None, None))
            losses.append([run(1) for _ in range(4)])
    assert losses[0][3] < losses[0][0]
    for others in losses[1:]:
        np.testing.assert_allclose(others, losses[0], rtol=1e-5)
