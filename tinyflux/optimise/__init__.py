"""Gradient-descent rules, and a rule at work on a model."""

from .rules import ADAM, Adam, Descent
from .state import adjust, freeze, setup, thaw, update

__all__ = ["ADAM", "Adam", "Descent", "adjust", "freeze", "setup", "thaw", "update"]
