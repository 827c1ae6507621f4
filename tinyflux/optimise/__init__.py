"""Gradient-descent rules, what modifies and schedules them, and a rule at work on a model."""

from . import schedules
from .adam import ADAM, AdaBelief, Adam, AdaMax, AdamW, AMSGrad, NAdam, OAdam, Padam, QHAdam, RAdam
from .adaptive import AdaDelta, AdaGrad, RMSProp
from .modifiers import AccumGrad, ClipGrad, ClipNorm, Maximize, NonFiniteNorm, OptimiserChain, SignDecay, WeightDecay
from .momentum import ASGD, QHM, AggMo, Descent, Lion, Momentum, Nesterov, YellowFin
from .state import adjust, freeze, setup, thaw, update

RULES = (
    *(Descent, Momentum, Nesterov, QHM, AggMo, Lion, ASGD, YellowFin),
    *(RMSProp, AdaGrad, AdaDelta),
    *(Adam, AdamW, AdaMax, NAdam, RAdam, OAdam, AdaBelief, QHAdam, AMSGrad, Padam),
)
MODIFIERS = (OptimiserChain, WeightDecay, SignDecay, ClipGrad, ClipNorm, AccumGrad, Maximize)

__all__ = [
    "ADAM",
    "ASGD",
    "QHM",
    "AMSGrad",
    "AccumGrad",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "AggMo",
    "ClipGrad",
    "ClipNorm",
    "Descent",
    "Lion",
    "Maximize",
    "Momentum",
    "NAdam",
    "Nesterov",
    "NonFiniteNorm",
    "OAdam",
    "OptimiserChain",
    "Padam",
    "QHAdam",
    "RAdam",
    "RMSProp",
    "SignDecay",
    "WeightDecay",
    "YellowFin",
    "adjust",
    "freeze",
    "schedules",
    "setup",
    "thaw",
    "update",
]
