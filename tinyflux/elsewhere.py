"""What other libraries call things, and what to write here: said where a name is looked for that isn't there.

The pages in docs/from/ have it all. Here is what those who come from there type first. A name is looked up in small
letters, without underscores, and without 1d, 2d or 3d at its end: `MaxPool2d` and `max_pool2d` are one.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

_HERE = {  # code, or words
    "linear": "flux.Dense(nin, nout, activation)",
    "sequential": "flux.Chain(…)",
    "maxpooling": "flux.MaxPool((2, 2))",
    "avgpool averagepooling": "flux.MeanPool((2, 2))",
    "rnn simplernn lstm gru": "write a step, and flux.scan: docs/learn/sequences.md has the code",
    "embedding": "docs/learn/sequences.md has a class of four lines",
    "nn optim optimizers layers losses": "the names stand in tinyflux itself: flux.Dense, flux.mse, flux.Adam …",
    "append add": "a Chain stays as it is: flux.Chain(*model, layer) is a new one",
    "train eval": "there is no need: layers know by themselves, or see flux.trainmode and flux.testmode",
    "compile": "flux.setup(rule, model); train compiles by itself",
    "fit": "flux.train(loss, model, data, opt)",
    "predict forward apply": "model(x)",
    "to cuda": "flux.gpu(model)",
    "statedict": "flux.save(path, model, opt)",
    "grad": "flux.gradient(f, x)",
    "valueandgrad gradandvalue": "flux.withgradient(f, x)",
    "jit": "flux.compile(f)",
    "nograd zerograd": "there is no need: flux.gradient alone records, and keeps nothing",
    "backward requiresgrad": "flux.gradient(f, x), which returns the gradient",
    "detach": "flux.stop_gradient(x)",
    "crossentropy crossentropyloss nllloss": "flux.logitcrossentropy(scores, flux.onehotbatch(labels, classes))",
    "sgd": "flux.Descent(eta), or flux.Momentum(eta, rho)",
    "step applyupdates applygradients": "flux.update(opt, model, gradient)",
    "paramgroups eta": "flux.adjust(opt, eta=…)",
    "manualseed": "flux.seed(0)",
    "tensordataset": "flux.DataLoader((x, y), batchsize=32)",
    "lr learningrate": "the learning rate is eta",
    "betas beta1 beta2": "the decay rates are beta",
    "eps": "it is epsilon",
    "momentum": "momentum is rho in flux.Momentum and flux.Nesterov",
    "nesterov": "that is the rule flux.Nesterov",
    "weightdecay": "decay is flux.AdamW(lambda_=…), or flux.OptimiserChain(flux.WeightDecay(…), rule)",
    "amsgrad": "that is the rule flux.AMSGrad",
    "maximize": "to go uphill, flux.OptimiserChain(flux.Maximize(), rule)",
    "centered": "it is centred in flux.RMSProp",
    "kernelsize poolsize": "it is window, a tuple such as (3, 3), and comes first",
    "padding": "it is pad",
    "droplast": "it is partial=False",
}
_BY_NAME = {name: text for names, text in _HERE.items() for name in names.split()}


def _reduced(name: str) -> str:
    return re.sub(r"[123]d$", "", name.replace("_", "").lower())


@functools.cache
def here(name: str) -> str:
    """What is written here for another library's name, in brackets with a space before it; "" for an unknown name.

    >>> from tinyflux import elsewhere
    >>> elsewhere.here("Conv2d"), elsewhere.here("eps"), elsewhere.here("foo")
    (' (write flux.Conv)', ' (it is epsilon)', '')
    """
    names = sys.modules[__package__].__all__
    same = [ours for ours in names if _reduced(ours) == _reduced(name)]
    nearest = f"flux.{min(same, key=lambda ours: sum(map(operator.ne, ours, name)))}" if same else ""
    text = _BY_NAME.get(_reduced(name), nearest)
    code = text.startswith(("flux.", "model("))
    return f" ({'write ' * code}{text})" if text else ""


def unknown(owner: str, name: str, known: Sequence[str]) -> str:
    """What to say of a keyword that isn't known."""
    return f"{owner} has no {name}; it has {', '.join(known) or 'none'}{here(name)}."


class NamedArguments:
    """A class that refuses an unknown keyword of its constructor by those that it has, with a hint."""

    __slots__ = ()

    def __new__(cls, *args: Any, **options: Any) -> Any:
        known = _arguments(cls) if options else None  # type: ignore[arg-type]  # a class can be hashed
        for name in options:
            if known is not None and name not in known:
                raise TypeError(unknown(cls.__name__, name, known))
        new = super().__new__
        if new is not object.__new__:  # that of another base
            return new(cls, *args, **options)
        if (args or options) and cls.__init__ is object.__init__:  # which is silent where __new__ isn't object's
            raise TypeError(f"{cls.__name__} takes no arguments.")
        return new(cls)


@functools.cache
def _arguments(cls: type) -> list[str] | None:
    """The names of a constructor's arguments; None where it takes any."""
    _, *found = inspect.signature(cls.__init__, follow_wrapped=False).parameters.values()  # type: ignore[misc]
    return None if any(x.kind is x.VAR_KEYWORD for x in found) else [x.name for x in found]


def no_attribute(owner: str, name: str) -> AttributeError:
    """The error for an attribute that isn't there."""
    hint = here(name) or f" (write np.{name})" * (name in vars(np))
    return AttributeError(f"{owner} has no attribute {name!r}{hint}")


_METHODS = (  # that are looked for in a model
    "append add parameters named_parameters eval train compile fit predict forward apply to cuda save summary "
    "state_dict zero_grad"
)
ABSENT = frozenset(_METHODS.split())


class Absent:
    """Stands where a class has no attribute, and raises the error. A method __getattr__ would slow down all others."""

    def __init__(self, cls: type, name: str) -> None:
        self._cls, self._name = cls, name

    def __get__(self, instance: Any, owner: type) -> Any:
        try:  # a subclass may have it from another base
            return getattr(super(self._cls, owner if instance is None else instance), self._name)
        except AttributeError:
            raise no_attribute(owner.__name__, self._name) from None


def refused_by(module: str, name: str) -> Any:
    """A module's `__getattr__`, for names that aren't there."""
    raise no_attribute(f"module {module!r}", name)
