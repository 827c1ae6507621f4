"""Functions of scipy.special, at arguments of all broadcasting shapes."""

import numpy as np
from scipy import special

import tinyflux as flux
from tests.support.cases import Case

UNARY = {
    special.expit: (-3, 3), special.log_expit: (-3, 3), special.logit: (0.1, 0.9),
    special.erf: (-2, 2), special.erfc: (-2, 2), special.erfcx: (-1, 2), special.erfinv: (-0.8, 0.8),
    special.erfcinv: (0.2, 1.8), special.dawsn: (-2, 2), special.ndtr: (-2, 2), special.log_ndtr: (-3, 3),
    special.ndtri: (0.2, 0.8), special.gamma: (0.5, 3), special.gammaln: (0.5, 4), special.loggamma: (0.5, 4),
    special.rgamma: (0.5, 3), special.psi: (0.5, 4), special.exp10: (-1, 1), special.cosm1: (-2, 2),
    special.exprel: (-2, 2), special.entr: (0.3, 2), special.expi: (0.5, 2), special.exp1: (0.5, 2),
    special.i0: (-2, 2), special.i1: (-2, 2), special.i0e: (0.3, 2), special.i1e: (-2, -0.3),
    special.j0: (-3, 3), special.j1: (-3, 3),
}  # fmt: skip
BINARY = {
    special.xlogy: (0.5, 2), special.xlog1py: (0.5, 2), special.rel_entr: (0.5, 2), special.kl_div: (0.5, 2),
    special.pseudo_huber: (0.5, 2), special.beta: (0.5, 2), special.betaln: (0.5, 2),
}  # fmt: skip
BROADCASTS = [". .", "ij ij", "ij j", "i1 1j", "ij ."]

CASES = [
    *[Case(f.__name__, f, s, low, high) for f, (low, high) in UNARY.items() for s in (".", "ij")],
    *[Case(f.__name__, f, s, low, high) for f, (low, high) in BINARY.items() for s in BROADCASTS],
    Case("huber", lambda d, r: special.huber(d * d + 0.1, r), "j ij"),
    Case("boxcox", lambda x: special.boxcox(x, 0.5) + special.boxcox(x, 0.0), "ij", 0.5),
    Case("boxcox1p", lambda x: special.boxcox1p(x, -0.5), "ij", 0.5),
    Case("gammainc", lambda x: special.gammainc(1.5, x), "ij", 0.5, 3),
    Case("gammaincc", lambda x: special.gammaincc(2.5, x), "ij", 0.5, 3),
    Case("betainc", lambda x: special.betainc(1.5, 2.5, x), "ij", 0.2, 0.8),
    Case("slope of psi", lambda x: flux.pullback(special.psi, x)[1](np.ones_like(x)), "ij", 0.8, 3),
]
