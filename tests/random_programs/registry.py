"""Where recipes are kept."""

import sys
from pathlib import Path

from tinyflux.autodiff import tape

sys.path.insert(0, str(Path(__file__).parents[1] / "autodiff"))  # where domains of elementwise functions are

# By the name of the function: what makes the text of a call, given a Draw.
RECIPES = {}


def text_of(function):
    """A function as programs write it."""
    return tape.name_of(function).replace("scipy.special._basic.", "special.").replace("scipy.special.", "special.")


def recipe(*names):
    """Decorate the recipe of some functions, `(draw, name) -> text`."""

    def keep(made):
        for name in names:
            RECIPES[name] = lambda d, name=name: made(d, name)
        return made

    return keep
