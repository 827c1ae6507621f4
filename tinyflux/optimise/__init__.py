"""Gradient-descent rules, what modifies and schedules them, and a rule at work on a model."""

# ruff: noqa: F403, F405  (the names of each part stand there)
from . import adam, adaptive, adjusting, averages, modifiers, momentum, muon, schedules, soap, state
from .adam import *
from .adaptive import *
from .adjusting import *
from .averages import *
from .modifiers import *
from .momentum import *
from .muon import *
from .soap import *
from .state import *

RULES = (
    *(Descent, Momentum, Nesterov, QHM, AggMo, Lion, ASGD, YellowFin, Muon),
    *(RMSProp, AdaGrad, AdaDelta),
    *(Adam, AdamW, AdaMax, NAdam, RAdam, OAdam, AdaBelief, QHAdam, AMSGrad, Padam, SOAP),
)
MODIFIERS = (OptimiserChain, WeightDecay, SignDecay, ClipGrad, ClipNorm, AccumGrad, Maximize, Lookahead, EMA)

__all__ = ["schedules"]
__all__ += adam.__all__
__all__ += adaptive.__all__
__all__ += adjusting.__all__
__all__ += averages.__all__
__all__ += modifiers.__all__
__all__ += momentum.__all__
__all__ += muon.__all__
__all__ += soap.__all__
__all__ += state.__all__
