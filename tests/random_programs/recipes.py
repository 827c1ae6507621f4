"""How calls of each function of the table are drawn: the recipes of all files.

A recipe is a function of a `Draw` that returns the text of a call. A rule that is added needs one, or, if its function
works element by element on one or two arrays, an entry in UNARY or BINARY of tests/support/cases_elementwise.py.
"""

import operator

from tests.random_programs import recipes_elementwise as _elementwise  # noqa: F401  (each fills the registry)
from tests.random_programs import recipes_general as _general  # noqa: F401
from tests.random_programs import recipes_products as _products  # noqa: F401
from tests.random_programs import recipes_reductions as _reductions  # noqa: F401
from tests.random_programs import recipes_shapes as _shapes  # noqa: F401
from tests.random_programs.drawing import NAMES
from tests.random_programs.registry import RECIPES, text_of
from tinyflux.autodiff import tape
from tinyflux.autodiff.rules import special as _special  # noqa: F401  (fills the table)

# What the compiler refuses by name, most of it as there is no way to write it in C: seldom drawn where programs are to
# be compiled.
EAGER = """
    np.bincount np.compress np.extract np.i0 np.ldexp np.linalg.eigh np.linalg.eigvalsh np.linalg.lstsq np.linalg.qr
    np.linalg.svd np.partition special.beta special.betainc special.betaln special.boxcox special.boxcox1p special.dawsn
    special.erfcinv special.erfcx special.erfinv special.exp1 special.expi special.gammainc special.gammaincc special.i0
    special.i0e special.i1 special.i1e special.j0 special.j1 special.kl_div special.log_ndtr special.ndtri
    special.pseudo_huber special.rgamma
"""
GENERAL = [name for name in RECIPES if "np." not in name and "special." not in name]


def table():
    """The functions of the table that users call, as programs write them; the library's own parts are none."""
    names = {text_of(f): f for f in [*tape.rules, *tape.compositions]}
    return sorted(name for name, f in names.items() if name.startswith(("np.", "special.")) and _found(name) == f)


def _found(name):
    """What stands under a name, if anything."""
    try:
        return operator.attrgetter(name.partition(".")[2])(NAMES[name.partition(".")[0]])
    except AttributeError:
        return None


def chosen(native):
    """The recipes from which programs are made: those of the table's functions, and the general ones, these oftener.

    Arguments:
        native: whether the programs are to be compiled.
    """
    weights = {name: 1 if name in EAGER.split() else 8 if native else 1 for name in table() if name in RECIPES}
    weights |= {name: 3 * max(weights.values()) for name in GENERAL}
    return [RECIPES[name] for name, weight in weights.items() for _ in range(weight)]
