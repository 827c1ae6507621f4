"""What is shown at the prompt and in a notebook: readable, and never an error, whatever an object holds."""

import copy
import functools
import html.parser
import math
import pickle
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.display import Line, html_table, shares


class Own:
    """A layer without a base class."""

    def __init__(self, **attributes):
        self.scale = np.ones(3, np.float32)
        self.inner = flux.Dense(3, 2)
        vars(self).update(attributes)

    def __call__(self, x):
        return self.inner(x * self.scale)


class Failing:
    """What a user's class may do where it is asked for anything."""

    def __repr__(self):
        raise RuntimeError("no")

    def __getattr__(self, name):
        raise KeyError(name)

    def __call__(self, x):
        return x


class Table(html.parser.HTMLParser):
    """The texts of a table's cells, row by row, and how long its bars are; fails where tags don't close."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.bars, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        style = dict(attributes).get("style", "")
        if "%" in style:
            self.bars.append(float(style.rpartition("width: ")[2].rstrip("%")))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def odd_leaves():
    x = np.ones((2, 3), np.float32)
    return [
        None, "a", "two\nlines", b"b", 1, math.nan, 2**100, x, x * math.nan, x.astype(np.float16), x.astype(object),
        np.array(None), np.zeros(0), np.array(1.5), np.array(["a"]), np.zeros((2, 0), bool), np.float32(2), flux.relu,
        np.add, functools.partial(np.clip, a_max=Failing()), Failing(), Failing, {1, 2}, iter([]),
        flux.Adam(), flux.schedules.Warmup(0.1, 5), np.ma.masked_array([1.0]), object(), len, lambda x: x, ...,
        flux.setup(flux.Descent(), [np.ones(2)]), "<b>", [x] * 50, "x" * 1000,
    ]  # fmt: skip


MAKERS = [
    lambda: flux.Dense(3, 2, flux.relu), lambda: flux.Conv((3, 3), 1, 2), lambda: flux.ConvTranspose((2, 2), 1, 2),
    lambda: flux.BatchNorm(3), lambda: flux.GroupNorm(4, 2), lambda: flux.LayerNorm(3), lambda: flux.Dropout(0.5),
    lambda: flux.Chain(flux.Dense(2, 2), np.tanh), lambda: flux.SkipConnection(flux.Dense(2, 2), np.add),
    lambda: flux.Parallel(np.add, flux.Dense(2, 2), flux.identity), lambda: flux.MaxPool((2, 2)),
    lambda: flux.AdaptiveMeanPool((1, 1)), lambda: flux.Upsample(2), lambda: flux.PixelShuffle(2), Own,
]  # fmt: skip
OWN = {Own, list, tuple, dict}  # classes whose repr is Python's


@st.composite
def trees(draw, depth=2):
    """A tree of layers, lists and dicts in which some attributes are gone, and others hold anything."""
    leaves = odd_leaves()
    choice = draw(st.integers(0, 5 if depth else 1))
    if choice == 0:
        return leaves[draw(st.integers(0, len(leaves) - 1))]
    if choice == 4:
        return [draw(trees(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if choice == 5:
        return {i: draw(trees(depth - 1)) for i in range(draw(st.integers(0, 3)))}
    layer = draw(st.sampled_from(MAKERS))()
    for name in list(vars(layer)):
        fate = draw(st.integers(0, 5))
        if fate == 0:
            delattr(layer, name)
        elif fate == 1 and depth:
            setattr(layer, name, draw(trees(depth - 1)))
        elif fate == 2 and depth:
            setattr(layer, name, (draw(trees(depth - 1)), layer))
        elif fate == 3:
            setattr(layer, name, layer)
    return layer


def shown(x):
    """All that shows a layer, or what stands in the place of one."""
    if type(x) not in OWN and isinstance(x, flux.nn.layers.show.Layer):
        text, table = repr(x), x._repr_html_()
        assert type(x).__name__ in text
        assert table is None or Table(table).rows
        return text
    return repr(flux.Chain(np.tanh, x) if callable(x) else [])


@pytest.mark.parametrize(
    ("base", "arguments", "said"),
    [
        (flux.BatchNorm, lambda n: ((n, flux.relu), {}), "MyLayer(3, relu)"),
        (flux.GroupNorm, lambda n: ((2 * n, n), {"affine": False}), "MyLayer(6, 3, affine=False)"),
        (flux.MaxPool, lambda n: (((n, n),), {"pad": 1}), "MyLayer((3, 3), pad=1)"),
    ],
)
def test_a_subclass_prints_what_its_base_was_called_with(base, arguments, said):
    class MyLayer(base):
        def __init__(self, n, *, note="its own"):
            given, options = arguments(n)
            super().__init__(*given, **options)
            self.remark = note

    assert repr(MyLayer(3)).partition("#")[0].rstrip() == said


@given(trees())
def test_nothing_that_is_drawn_fails(x):
    shown(x)
    layer = flux.Chain(flux.relu)
    layer.layers = x
    shown(layer)
    assert flux.nn.layers.show.as_code(x)


@pytest.mark.parametrize("make", MAKERS[:-1], ids=lambda make: type(make()).__name__)
def test_odd_attributes_are_shown(make):
    layer = make()
    for name, value in list(vars(layer).items()):
        for leaf in odd_leaves():
            setattr(layer, name, leaf)
            shown(layer)
        setattr(layer, name, value)


@pytest.mark.parametrize("make", MAKERS[:-1], ids=lambda make: type(make()).__name__)
def test_a_layer_that_is_half_built(make):
    layer = make()
    names = list(vars(layer))
    for name in reversed(names):  # as in a debugger, within __init__
        delattr(layer, name)
        assert shown(layer).startswith(f"{type(layer).__name__}(")
    assert shown(type(layer).__new__(type(layer)))


def test_what_stands_in_itself():
    chain = flux.Chain(flux.Dense(2, 2), np.tanh)
    chain.layers = (*chain.layers, chain)
    assert [line.split("#")[0].rstrip() for line in repr(chain).splitlines()] == [
        "Chain(", "  Dense(2, 2),", "  tanh,", "  ...,", ")",
    ]  # fmt: skip
    assert Table(chain._repr_html_()).rows[4][0] == "  ...,"
    inner = flux.Dense(2, 2)
    inner.activation = [inner]
    assert repr(inner) == "Dense(2, 2, [...])"
    assert repr(flux.Chain(inner)).splitlines()[1] == "  Dense(2, 2, [...]),"


def test_a_very_deep_tree():
    model = flux.Dense(2, 2)
    for _ in range(3000):
        model = flux.Chain(model)
    assert repr(model).startswith("Chain(")
    assert flux.nn.layers.show.as_code(model).startswith("Chain(")
    assert model._repr_html_() is None


def test_within_a_gradient_and_within_a_compiled_function(capsys):
    seen = []
    model = flux.Chain(flux.Dense(2, 3), Own(), flux.BatchNorm(2))
    x = np.ones((4, 2), np.float32)

    def loss(model):
        seen.extend([repr(model), model._repr_html_(), repr([model]), repr(model[0].weight), repr(flux.summary(model))])
        return np.sum(model(x))

    flux.gradient(loss, model)
    assert seen[0] == repr(model)
    assert seen[1] == model._repr_html_()

    def recorded(model, x):
        slope = flux.gradient(lambda m: np.sum(m(x)), model)
        print(slope, slope._repr_html_())
        return slope

    flux.compile(recorded)(flux.testmode(model), x)
    text = capsys.readouterr().out
    assert "  Dense(2, 3),\n" in text  # its numbers aren't known
    assert Table(text[text.index("<div") : text.index("</div>") + 6]).rows[0][:2] == ["gradient", "norm"]


def test_a_gradient_says_that_it_is_one():
    """By hand: the slope of Σ x·Wᵀ + b over 4 samples of ones is 4 by each number; √(9·16) = 12."""
    x = np.ones((4, 2), np.float32)
    grads = flux.gradient(lambda m: np.sum(m["a"](x)), {"a": flux.Dense(2, 3), "b": flux.Dense(2, 3), "c": [1.5]})
    assert repr(grads["a"]) == "Dense(2, 3)                             # gradient of norm 12"
    assert repr(grads["b"]) == "Dense(weight=None, bias=None, activation=identity)"
    pair = flux.gradient(lambda m: np.sum(m[1][0](x)), (flux.Dense(5, 5), [flux.Dense(2, 3)]))
    assert repr(pair[1][0]).endswith("# gradient of norm 12")
    both = flux.gradient(lambda m, w: np.sum(m(x)) * w, flux.Dense(2, 3), np.array(1.0))
    assert repr(both[0]).endswith("# gradient of norm 12")
    broken = flux.gradient(lambda m: np.sum(m(x * math.nan)), flux.Dense(2, 3))
    assert repr(broken).endswith("# gradient of norm nan")
    half = flux.gradient(lambda m: np.sum(m(x.astype(np.float16))), flux.tree.map(np.float16, flux.Dense(2, 3)))
    assert repr(half).endswith("# gradient of norm 12")


class Slotted(flux.nn.layers.show.Layer):
    __slots__ = ("weight",)

    def __init__(self):
        self.weight = np.ones(4)

    def _parts(self):
        return ["4"]

    def __call__(self, x):
        return x


def test_a_part_of_a_gradient_says_that_it_is_one():
    """It does so when the whole is gone. The slope of a sum is 1 by each of a weight's numbers: √6 and √4."""
    model = flux.Chain(flux.Dense(2, 3), flux.Chain(Slotted()))

    def slope():
        return flux.gradient(lambda m: np.sum(m[0].weight) + np.sum(m[1][0].weight), model)

    said = "Dense(2, 3, bias=False)                 # gradient of norm 2.449"
    assert repr(slope()[0]) == repr(slope().layers[0]) == said
    assert repr(slope()[1][0]) == "Slotted(4)                              # gradient of norm 2"
    assert Table(slope()[0]._repr_html_()).rows[0][:2] == ["gradient", "norm"]
    assert repr(flux.summary(slope()[1])).splitlines()[-1] == "total              gradient of norm 2 in 1 array"
    assert repr(model[0]).endswith("# 9 parameters")
    assert repr(flux.f64(model)[0]).endswith("# 9 parameters")
    assert repr(flux.tree.map(lambda x, g: x if g is None else x - g, model, slope())[0]).endswith("# 9 parameters")


def test_gradients_of_many_layers_print_in_linear_time():
    layers = [flux.Dense(2, 3) for _ in range(1000)]
    grads = flux.gradient(lambda m: np.sum(m[0].weight), layers)
    before = time.process_time()
    text = repr(grads)
    assert text.count("gradient of norm 2.449") == 1
    assert time.process_time() - before < 1  # two seconds, where each was looked for among all


def test_gradients_are_copied_and_pickled():
    grads = flux.gradient(lambda m: np.sum(m(np.ones((4, 2), np.float32))), flux.Dense(2, 3))
    for copied in (copy.deepcopy(grads), pickle.loads(pickle.dumps(grads)), copy.copy(grads)):
        assert vars(copied).keys() == vars(grads).keys()
        assert copied.weight.tolist() == [[4.0, 4.0]] * 3
        copied.weight = None
        assert grads.weight is not None


def test_a_gradient_that_holds_itself():
    grads = flux.gradient(lambda m: np.sum(m(np.ones((4, 2), np.float32))), flux.Dense(2, 3))
    grads.me = grads
    assert repr(flux.Dense(2, 3)).endswith("# 9 parameters")  # looks for it among the gradients
    assert repr(grads)


def test_the_norms_of_a_moved_model_are_shown():
    model = flux.Chain(flux.Dense(2, 3, bias=False))
    opt = flux.setup(flux.Descent(0.5), model)
    grads = flux.gradient(lambda m: np.sum(m(np.ones((1, 2)))), model)
    flux.update(opt, model, grads)
    assert repr(grads).splitlines()[1].endswith("# gradient of norm 2.449")  # √6
    assert repr(model).splitlines()[1].endswith("# 6 parameters")


def test_the_table_of_a_model():
    model = flux.Chain(flux.Dense(2, 3), flux.SkipConnection(flux.Dense(3, 3), np.add), flux.softmax)
    table = Table(model._repr_html_())
    assert [row[:2] for row in table.rows] == [
        ["layer", "parameters"], ["Chain(", ""], ["  Dense(2, 3),", "9"], ["  SkipConnection(", ""],
        ["    Dense(3, 3),", "12"], ["    add,", ""], ["  ),", "12"], ["  softmax,", ""], [")", "21"],
    ]  # fmt: skip
    assert table.bars == [75.0, 100.0]  # 9 of 12


def test_the_table_of_a_gradient():
    """By hand: 4·√9 and 4·√3 for the layers, 4·√12 for all."""
    model = flux.Chain(flux.Dense(2, 3), lambda x: x * 1)
    model.layers = (model[0], flux.LayerNorm(3))
    grads = flux.gradient(lambda m: np.sum(m[0](np.ones((4, 2)))) + 4 * np.sum(m[1].bias), model)
    grads[1].weight = None
    table = Table(grads._repr_html_())
    assert [row[1] for row in table.rows] == ["norm", "", "12", "6.928", "13.86"]
    assert table.bars == [100.0, 57.7]


def test_names_in_a_table_are_escaped():
    model = flux.Chain(Own(**{"<b>&": np.ones(2)}))
    model[0].__class__ = type("<script>", (Own,), {})
    for text in (model._repr_html_(), flux.summary(model)._repr_html_()):
        assert "<script>" not in text
        assert "<b>" not in text
        assert Table(text).rows
    assert any("<b>&" in cell for row in Table(flux.summary(model)._repr_html_()).rows for cell in row)


def test_a_class_of_ones_own_has_its_table_in_the_summary():
    """By hand: with a scale of ones, the slope of Σ W·(x∘s) + b by b is 4, and by W as well."""
    model = Own()
    assert [row[:4] for row in Table(flux.summary(model)._repr_html_()).rows] == [
        ["layer", "shape", "dtype", "count"], [".scale", "(3,)", "float32", "3"],
        [".inner.weight", "(2, 3)", "float32", "6"], [".inner.bias", "(2,)", "float32", "2"],
        ["total", "11 parameters in 3 arrays, 44 bytes", ""],
    ]  # fmt: skip
    model.inner.weight[:] = 0.5
    grads = flux.gradient(lambda m: np.sum(m(np.ones((4, 3)))), model)
    lines = flux.summary(grads).splitlines()
    assert lines[0].split() == ["layer", "shape", "dtype", "norm"]
    assert [line.split()[-1] for line in lines[1:4]] == ["6.928", "9.798", "5.657"]  # 4·√3, 4·√6, 4·√2
    assert lines[4].split(maxsplit=1) == ["total", "gradient of norm 13.27 in 3 arrays"]  # 4·√11
    assert Table(flux.summary(grads)._repr_html_()).bars == [70.7, 100.0, 57.7]


def test_the_table_of_calls():
    table = Table(flux.summary(flux.Chain(flux.Dense(4, 2), flux.Dense(2, 2)), (4,))._repr_html_())
    assert table.rows[-1] == ["total", "", "", "16", "12", ""]
    assert table.bars == [100.0, 50.0]


def test_bars():
    assert shares([1, None, 4, math.nan, math.inf, 0]) == [0.25, None, 1.0, None, None, 0.0]
    assert shares([0, None]) == [None, None]
    assert shares([]) == []
    table = Table(html_table(["a", "b"], "<>", [Line(["x", "1"]), Line(["whole"])]))
    assert table.rows == [["a", "b"], ["x", "1"], ["whole"]]
    assert table.bars == []


def test_many_layers():
    layers = [flux.Dense(3, 3) for _ in range(2000)]  # of 12 parameters each
    model = flux.Chain(*layers)
    text = repr(model)
    assert text.splitlines()[0] == "Chain("
    assert text.splitlines()[1:41] == text.splitlines()[-11:-1] * 4
    assert text.splitlines()[41] == "  ...  # 1,950 more"
    assert text.splitlines()[-1].endswith("# 24,000 parameters in all")
    assert len(text.splitlines()) == 1 + 40 + 1 + 10 + 1
    assert len(Table(model._repr_html_()).rows) == len(text.splitlines()) + 1
    assert "..." not in repr(flux.Chain(*layers[:100]))
    layer = flux.Dense(3, 3)
    layer.activation = layers
    assert repr(layer).startswith("Dense(3, 3, list(...)) ")
    layer.activation = model
    assert repr(layer).startswith("Dense(3, 3, Chain(...)) ")
