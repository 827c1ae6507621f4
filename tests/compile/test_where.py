"""NotCompilable names the line of the user's code that it comes from."""

from dataclasses import dataclass

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.trace.where import describe
from tinyflux.training.report import reason

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def line_of(function, after):
    """Where a line of a function stands: its first one, and so many after it."""
    return f"test_where.py line {function.__code__.co_firstlineno + after}"


def refused(call, *args):
    """The error of a call, and the last bracket of its message."""
    with pytest.raises(flux.NotCompilable) as caught:
        call(*args)
    message = str(caught.value)
    assert message.endswith(f" (In {caught.value.where}.)")
    assert message.count("(In ") == 1
    return caught.value.where


def branching(x):
    y = 2 * x
    if y[0] > 0:
        return x
    return y


def setting(x):
    z = np.zeros(2)
    z[0] = x[0]
    return z


def mse(model, x):
    return np.mean(model(x) ** 2)


@dataclass(frozen=True)
class Rule:
    eta: float = 0.1

    def init(self, x):
        return (0,)

    def apply(self, state, x, g):
        t = state[0] + 1
        return (t,), g * (0.1 if t < 10 else self.eta)


class Layer:
    def __init__(self):
        self.weight = np.ones(3, np.float32)

    def __call__(self, x):
        return self.weight * x if np.sum(x) > 0 else self.weight


def train(loss, model, rule):
    opt = flux.setup(rule, model)
    flux.train(loss, model, [X], opt, compile=True)


def test_a_function_of_flux_compile_names_its_line():
    assert refused(flux.compile(branching), X[0]) == f"branching, {line_of(branching, 2)}"


def test_the_innermost_function_is_named_and_not_its_caller():
    def caller(x):
        return branching(x)

    assert refused(flux.compile(caller), X[0]) == f"branching, {line_of(branching, 2)}"


def test_a_function_inside_another_is_named_without_it():
    def inside(x):
        return x if x[0] > 0 else -x

    assert refused(flux.compile(inside), X[0]) == f"inside, {line_of(inside, 1)}"


def test_a_lambda_is_called_so():
    f = lambda x: np.fft.fft(x)  # noqa: E731
    assert refused(flux.compile(f), X[0]) == f"a lambda, {line_of(f, 0)}"


def test_a_comprehension_is_a_part_of_its_function():
    def chosen(x):
        return np.stack([a for a in (x, -x) if a[0] > 0])

    assert refused(flux.compile(chosen), X[0]) == f"chosen, {line_of(chosen, 1)}"


def test_an_element_that_is_set_names_its_line():
    assert refused(flux.compile(setting), X[0]) == f"setting, {line_of(setting, 2)}"


def test_an_element_that_is_set_in_a_loss_names_its_line():
    def loss(model, x):
        z = np.zeros(2)
        z[0] = x[0, 0]
        return mse(model, x) * z[0]

    assert refused(train, loss, flux.Dense(3, 1), flux.Descent(0.1)) == f"loss, {line_of(loss, 2)}"


def test_an_element_that_the_library_sets_names_no_line():
    code = compile("def f(x):\n    z = np.zeros(2)\n    z[0] = x[0]\n    return z\n", "library.py", "exec")
    names = {"__name__": "numpy.library", "np": np}
    exec(code, names)
    with pytest.raises(flux.NotCompilable, match=r"float, int or item") as caught:
        flux.compile(names["f"])(X[0])
    assert caught.value.where == ""


def test_another_error_of_setting_an_element_stays_as_it_is():
    def wrong(x):
        z = np.zeros(2)
        z[0] = [1.0, 2.0]
        return x + z[0]

    with pytest.raises(ValueError, match="setting an array element with a sequence"):
        flux.compile(wrong)(X[0])


def test_in_a_gradient_and_in_a_compiled_function_the_line_is_named_once():
    outer = flux.compile(lambda x: flux.gradient(lambda x: np.sum(flux.compile(branching)(x)), x))
    assert refused(outer, X[0]) == f"branching, {line_of(branching, 2)}"


def test_training_names_the_line_of_a_layer():
    assert refused(train, mse, Layer(), flux.Descent(0.1)) == f"Layer.__call__, {line_of(Layer.__call__, 1)}"


def test_training_names_the_line_of_a_rule():
    assert refused(train, mse, flux.Dense(3, 1), Rule()) == f"Rule.apply, {line_of(Rule.apply, 2)}"


def test_compile_training_names_the_line_of_a_loss():
    def loss(model, x):
        return mse(model, x) if np.sum(x) > 0 else 0.0

    model = flux.Dense(3, 1)
    step = flux.compile_training(loss, model, flux.setup(flux.Descent(0.1), model), batchsize=2)
    assert refused(step, X, np.zeros((1, 2), int)) == f"loss, {line_of(loss, 1)}"


def test_what_is_reported_under_auto_names_the_line_too():
    model = flux.Dense(3, 1)
    history = flux.train(mse, model, [X], flux.setup(Rule(), model))
    assert history.engine.startswith("native code for the gradient, and plain NumPy for the update: a branch that")
    assert history.engine.endswith(f"(In Rule.apply, {line_of(Rule.apply, 2)}.)")


def test_a_schedule_names_itself_and_its_line():
    schedule = lambda t: min(0.1, 0.1 * t)  # noqa: E731
    with pytest.raises(flux.NotCompilable, match=r"a schedule is compiled with its rule.*np\.minimum") as caught:
        train(mse, flux.Dense(3, 1), flux.Adam(schedule))
    assert caught.value.where == f"a lambda, {line_of(schedule, 0)}"


def test_a_message_about_the_whole_model_names_no_line():
    class Counting:
        calls = 0

        def __init__(self):
            self.weight = np.ones(3, np.float32)

        def __call__(self, x):
            self.calls += 1
            return self.weight * x

    with pytest.raises(flux.NotCompilable, match=r"model\.calls changes from") as caught:
        train(mse, Counting(), flux.Descent(0.1))
    assert caught.value.where == ""
    assert "(In " not in reason(caught.value)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("<stdin>", "line 3 at the prompt"),
        ("<python-input-7>", "line 3 at the prompt"),
        ("<ipython-input-2-ab12>", "line 3 at the prompt"),
        ("<string>", "line 3 at the prompt"),
        ("/tmp/ipykernel_4711/815.py", "line 3 of a notebook's cell"),
        ("/home/me/lamb.py", "lamb.py line 3"),
    ],
)
def test_code_at_a_prompt_and_in_notebooks(file, place):
    names = {}
    exec(compile("\n\ndef f(x): return x if x[0] > 0 else -x\n", file, "exec"), names)
    assert describe(names["f"].__code__, 3) == f"f, {place}"
    assert refused(flux.compile(names["f"]), X[0]) == f"f, {place}"


def test_what_a_dataclass_generates_is_nobodys_line():
    @dataclass
    class Pair:
        first: object
        second: object

    def same(x):
        return x if Pair(x, x) == Pair(-x, x) else -x

    assert refused(flux.compile(same), X[0]) == f"same, {line_of(same, 1)}"
