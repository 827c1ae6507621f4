"""Layers of convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays import is_array
from ...checks import check_integer, not_an_array, shown
from ...types import Array
from ..activations import identity
from ..convolution import conv, conv_transpose, geometry
from ..initialisers import glorot_uniform, zeros
from .dense import check_options, initial
from .show import Layer, as_code, attributes

_DEFAULTS = {"stride": 1, "pad": 0, "dilation": 1, "groups": 1, "outpad": 0}


class Conv(Layer):
    """A layer that slides windows over images, y = σ(x ∗ w + b); `flux.conv` has the formula of ∗.

    Arguments:
        window: how many pixels a window has along each axis of space, a tuple of one to three integers.
        nin, nout: how many channels images have, going in and coming out.
        activation: σ, a function of an array.
        stride, pad, dilation, groups: as for `flux.conv`; `pad="same"` keeps the images' size at stride 1.
        init: `init(shape, rng)` makes the weight from the shape (nout, nin / groups, *window); see
            `flux.glorot_uniform`.
        bias: False for a layer without b.
        rng: a NumPy generator; by default the one that `flux.seed` restarts.

    Attributes: `weight`, float32 (nout, *window, nin / groups); `bias`, float32 (nout,), zero at first, or None;
    `activation`; and `stride`, `pad`, `dilation`, `groups`.

    Returns, called with x (N, *space, nin): an array (N, *out, nout).

    Errors: TypeError for something else than an array; ValueError for images of another number of axes or channels, or
    smaller than a window; for sizes below 1, groups that don't divide nin and nout, and arguments of another kind.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.Conv((3, 3), 1, 8, flux.relu, pad="same")
    >>> layer
    Conv((3, 3), 1, 8, relu, pad='same')    # 80 parameters
    >>> layer(np.ones((5, 28, 28, 1), np.float32)).shape
    (5, 28, 28, 8)
    """

    def __init__(
        self,
        window: Sequence[int],
        nin: int,
        nout: int,
        activation: Callable[[Any], Any] = identity,
        *,
        stride: Any = 1,
        pad: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        init: Callable[..., Any] = glorot_uniform,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        name = type(self).__name__
        window = _checked_window(name, window)
        for what, n in (("nin", nin), ("nout", nout), ("groups", groups)):
            check_integer(name, what, n, 1)
        if nin % groups or nout % groups:
            raise ValueError(f"{name}: expected groups to divide nin={nin} and nout={nout}, got {groups}.")
        check_options(name, activation, init, bias, rng)
        filters, channels = self._filters(int(nin), int(nout), int(groups))
        weight = initial(name, init, (filters, channels, *window), rng)
        self.weight = np.ascontiguousarray(np.moveaxis(weight, 1, -1))
        self.bias = zeros((int(nout),)) if bias else None
        self.activation = activation
        self.stride, self.pad, self.dilation, self.groups = stride, pad, dilation, int(groups)
        image = np.broadcast_to(np.float32(0), (1, *window, nin))
        geometry(name, image, self.weight, stride, pad, dilation, groups)  # refuses what doesn't fit

    def _filters(self, nin: int, nout: int, groups: int) -> tuple[int, int]:
        """How many filters there are, and how many channels one has."""
        return nout, nin // groups

    @property
    def _channels(self) -> tuple[int, int]:
        """nin and nout."""
        return self.weight.shape[-1] * self.groups, len(self.weight)

    def _apply(self, x: Array) -> Array:
        options = {"stride": self.stride, "pad": self.pad, "dilation": self.dilation, "groups": self.groups}
        return conv(x, self.weight, **options, owner=as_code(self))

    def __call__(self, x: Array) -> Array:
        if not is_array(x):
            raise not_an_array(as_code(self), x)
        nin, _ = self._channels
        if x.ndim != self.weight.ndim or x.shape[-1] != nin:
            raise ValueError(self._misfit(x.shape))
        y = self._apply(x)
        return self.activation(y if self.bias is None else y + self.bias)

    def _misfit(self, shape: tuple[int, ...]) -> str:
        nin, _ = self._channels
        d = self.weight.ndim - 2
        expected = f"(N, {', '.join('HWD'[:d] if d > 1 else 'L')}, {nin})"
        fix = "Reshape the images, or build the layer for them."
        if len(shape) == d + 1:
            if shape[-1] == nin:
                fix = "Give a batch, x[np.newaxis], if that is what is missing."
            elif nin == 1:
                fix = "Add an axis for the channels, x[..., np.newaxis], if that is what is missing."
            elif shape[0] == nin:
                fix = "Channels come last here, and images in a batch: give np.moveaxis(x, 0, -1)[np.newaxis]."
        elif len(shape) == d + 2 and shape[1] == nin:
            fix = "Channels come last here: give np.moveaxis(x, 1, -1)."
        return f"{as_code(self)}: expected images of shape {expected}, got shape {shape}. {fix}"

    def _parts(self) -> list[Any]:
        if not is_array(self.weight) or not (self.bias is None or is_array(self.bias)):
            return attributes(self)
        nin, nout = self._channels
        parts = [str(self.weight.shape[1:-1]), str(nin), str(nout)]
        if self.activation is not identity:
            parts.append(as_code(self.activation))
        for name, default in _DEFAULTS.items():
            if getattr(self, name, default) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return parts if self.bias is not None else [*parts, "bias=False"]


class ConvTranspose(Conv):
    """A layer that spreads pixels over windows, σ(y + b) with y by `flux.conv_transpose`: images become larger.

    Arguments: those of `Conv`; and
        outpad: how many pixels the result has more at its ends, below the stride.

    Attributes: those of `Conv`, but `weight` is (nin, *window, nout / groups), that of the convolution it transposes.

    Returns, called with x (N, *space, nin): an array (N, *out, nout).

    Errors: as for `Conv`.

    >>> import numpy as np, tinyflux as flux
    >>> layer = flux.ConvTranspose((2, 2), 8, 4, stride=2)
    >>> layer(np.ones((5, 7, 7, 8), np.float32)).shape
    (5, 14, 14, 4)
    """

    def __init__(self, window: Sequence[int], nin: int, nout: int, *args: Any, outpad: Any = 0, **options: Any) -> None:
        self.outpad = outpad
        super().__init__(window, nin, nout, *args, **options)

    def _filters(self, nin: int, nout: int, groups: int) -> tuple[int, int]:
        return nin, nout // groups

    @property
    def _channels(self) -> tuple[int, int]:
        return len(self.weight), self.weight.shape[-1] * self.groups

    def _apply(self, x: Array) -> Array:
        options = {"stride": self.stride, "pad": self.pad, "dilation": self.dilation, "groups": self.groups}
        return conv_transpose(x, self.weight, **options, outpad=self.outpad, owner=as_code(self))


def DepthwiseConv(window: Sequence[int], nin: int, nout: int | None = None, *args: Any, **options: Any) -> Conv:
    """A `Conv` that treats each channel by itself: groups=nin.

    Arguments: those of `Conv` but groups; nout is a multiple of nin, by default nin.

    >>> import tinyflux as flux
    >>> flux.DepthwiseConv((3, 3), 16)
    Conv((3, 3), 16, 16, groups=16)         # 160 parameters
    """
    check_integer("DepthwiseConv", "nin", nin, 1)
    if nout is not None and nout % nin:
        raise ValueError(f"DepthwiseConv: expected nout to be a multiple of nin={nin}, got {nout}.")
    return Conv(window, nin, nin if nout is None else nout, *args, groups=nin, **options)


def _checked_window(name: str, window: Any) -> tuple[int, ...]:
    if not isinstance(window, (tuple, list)) or len(window) not in (1, 2, 3):
        raise TypeError(
            f"{name}: expected window to be a tuple of one to three integers, got {shown(window)}. It "
            f"comes first: {name}((3, 3), nin, nout)."
        )
    for n in window:
        check_integer(name, "an element of window", n, 1)
    return tuple(map(int, window))
