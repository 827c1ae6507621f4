"""Docstrings become the reStructuredText that shows what was meant."""

import inspect
import runpy
from pathlib import Path

import pytest

import tinyflux as flux

CONVERTER = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "extensions" / "docstrings.py"))


def converted(text, links=()):
    return "\n".join(CONVERTER["to_rst"](inspect.cleandoc(text).splitlines(), {name: name for name in links})).rstrip()


def test_what_reStructuredText_would_take_for_markup_is_escaped():
    assert converted("|x| is *args, w_ and a\\b; `x_` stays.") == r"\|x\| is \*args, w\_ and a\\b; ``x_`` stays."


def test_code_is_a_link_where_it_names_something_public():
    assert converted("See `Dense`, not `x`.", ["Dense"]) == "See :py:obj:`Dense <tinyflux.Dense>`, not ``x``."


def test_a_formula_keeps_its_lines():
    assert converted("Momentum.\n\n    v ← ρv\n    Δ = v\n\nNesterov.") == (
        "Momentum.\n\n.. code-block:: text\n   :class: formula\n\n   v ← ρv\n   Δ = v\n\nNesterov."
    )


def test_code_is_no_formula():
    assert converted("So:\n\n    def f(x):\n        return x\n\nNext.") == (
        "So:\n\n.. code-block:: python\n\n   def f(x):\n       return x\n\nNext."
    )


def test_arguments_are_a_list_with_lines_that_go_on():
    text = """
    Arguments and errors: as for `mse`, and
        nin, nout: how many,
            going in and coming out.
        *args: the rest.
    """
    assert converted(text) == (
        ":Arguments and errors:\n    as for ``mse``, and\n\n"
        "    * **nin, nout** – how many,\n      going in and coming out.\n    * **\\*args** – the rest."
    )


def test_an_argument_may_be_one_of_several_things():
    text = """
    Arguments:
        what: one of these.

            *   A curve,
                or two.
            *   Images.
        steps: how many.
    """
    assert converted(text) == (
        ":Arguments:\n\n    * **what** – one of these.\n\n      * A curve,\n        or two.\n      * Images.\n\n"
        "    * **steps** – how many."
    )


def test_a_section_says_in_its_head_what_is_called():
    assert converted("Returns, called with x (N, *space): an array.") == (
        ":Returns, called with x (N, \\*space):\n    an array."
    )


def test_attributes_and_errors_in_a_sentence_become_lists():
    assert converted("Attributes: `p`; `weight`, float32; and `bias`.") == (
        ":Attributes:\n    * ``p``\n    * ``weight``, float32\n    * ``bias``"
    )
    assert converted("Errors: TypeError for a list; ValueError for a size, or none.") == (
        ":Errors:\n    * TypeError for a list\n    * ValueError for a size, or none"
    )
    assert (
        converted("Errors: as for `mse`; ValueError for more.") == ":Errors:\n    as for ``mse``; ValueError for more."
    )


def test_an_error_of_ours_is_a_link():
    assert converted("A NonFiniteLoss stops it.", ["NonFiniteLoss"]) == (
        "A :py:obj:`NonFiniteLoss <tinyflux.NonFiniteLoss>` stops it."
    )


def test_examples_stay_as_they_are():
    assert converted(">>> x * y_\n3") == ">>> x * y_\n3"


def test_bullets_and_a_head_in_bold():
    assert converted("**What it means.** This **or that**:\n\n*   one,\n    and more\n*   two") == (
        "**What it means.** This **or that**:\n\n* one,\n  and more\n* two"
    )


@pytest.mark.parametrize(
    ("thing", "sentence"), [("Descent", "Gradient descent: Δ = η·g."), ("gpu_status", "Whether the GPU")]
)
def test_the_first_sentence(thing, sentence):
    assert CONVERTER["first_sentence"](thing, getattr(flux, thing)).startswith(sentence)


def test_a_name_is_no_link_within_itself_nor_an_argument():
    links = CONVERTER["_links"]("update", flux.update)
    assert "update" not in links
    assert "opt" not in links
    assert links["flux.data.mnist"] == "data.mnist"
    assert links["flux.data.onehot"] == "onehot"


def test_signatures_keep_what_is_written_and_leave_out_what_is_internal():
    signature = CONVERTER["_signature"]
    assert signature(None, "class", "tinyflux.Adam", flux.Adam, None, "(*args, **hyperparameters)", "")[0] == (
        "(eta=0.001, beta=(0.9, 0.999), epsilon=1e-08)"
    )
    assert signature(None, "function", "tinyflux.conv", flux.conv, None, "(x, *, groups=1, owner='conv')", "")[0] == (
        "(x, *, groups=1)"
    )
    assert signature(None, "function", "tinyflux.x", flux.relu, None, "(x, *, owner='relu')", "")[0] == "(x)"
    assert signature(None, "function", "tinyflux.x", flux.relu, None, '(x, *, owner="relu")', "")[0] == "(x)"
