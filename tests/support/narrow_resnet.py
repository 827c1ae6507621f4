"""`benchmarks.device_convolution` of a network that has few channels in the place of ResNet18's.

As a script it runs the benchmark, in whose processes for the contenders the network is replaced as well.
"""

import tinyflux as flux
from benchmarks import convolution, device_convolution
from tinyflux.models import parts, resnet

LAYERS = convolution.resnet((4, 8), 1)


def model(classes, size):
    assert size == 32
    entry = parts.conv(3, 3, 4), flux.BatchNorm(4, flux.relu)
    stages = resnet._stages((4, 8), (1, 1), resnet._projection, None)
    return flux.Chain(*entry, *stages, flux.GlobalMeanPool(), flux.flatten, flux.Dense(8, classes))


if __name__ in ("__main__", "__mp_main__"):
    convolution.NETWORKS["ResNet18"] = LAYERS
    flux.models.resnet18 = model
if __name__ == "__main__":
    device_convolution.main()
