"""Where recipes are kept."""

from tinyflux.autodiff import tape

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
