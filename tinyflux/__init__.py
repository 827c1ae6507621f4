from . import tree
from .arrays import seed
from .autodiff import gradient, hessian, jacobian, pullback, rule, withgradient
