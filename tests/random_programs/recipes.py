"""How calls of each function of the table are drawn: the recipes of all files.

A recipe is a function of a `Draw` that returns the text of a call. A rule that is added needs one, or, if its function
works element by element on one or two arrays, an entry in UNARY or BINARY of tests/autodiff/cases_elementwise.py.
"""

import recipes_elementwise as _elementwise  # noqa: F401  (each fills the registry)
import recipes_general as _general  # noqa: F401
import recipes_products as _products  # noqa: F401
import recipes_reductions as _reductions  # noqa: F401
import recipes_shapes as _shapes  # noqa: F401
from registry import RECIPES, text_of

from tinyflux.autodiff import tape

GENERAL = [name for name in RECIPES if "np." not in name and "special." not in name]


def table():
    """The functions of the table that users call, as programs write them; the library's own parts are none."""
    names = {text_of(f) for f in [*tape.rules, *tape.compositions]} - {"special.zeta"}
    return sorted(name for name in names if name.startswith(("np.", "special.")))


def chosen():
    """The recipes from which programs are made: those of the table's functions, and the general ones, these oftener."""
    return [RECIPES[name] for name in table() if name in RECIPES] + [RECIPES[name] for name in GENERAL] * 3
