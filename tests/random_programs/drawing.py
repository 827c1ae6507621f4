"""Random programs: statements in NumPy, each made of results of the ones before, that NumPy itself can run."""

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import special

import tinyflux as flux

SIZE, LARGEST = 48, 1e3  # elements of a result, and its greatest number
NAMES = {"np": np, "special": special, "flux": flux, "f4": np.float32}
EXACT = NAMES | {"f4": np.float64}  # for a run in float64 throughout
DTYPES = {"float64": ["f8"], "float32": ["f4"], "both": ["f8", "f4"]}


@dataclass
class Program:
    """A function of arrays, as text.

    Attributes:
        inputs: its arguments by name; those of integers and booleans are constants of a gradient.
        lines: names, and the expressions that they stand for.
        outputs: the names that it returns.
    """

    inputs: dict[str, np.ndarray]
    lines: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def text(self, name="program"):
        body = [f"    {left} = {right}\n" for left, right in self.lines.items()]
        return f"def {name}({', '.join(self.inputs)}):\n{''.join(body)}    return {', '.join(self.outputs)},\n"

    def function(self, names=NAMES):
        space = dict(names)
        exec(self.text(), space)
        return space["program"]

    def __str__(self):
        """As a script."""
        given = [f"{name} = {written(x)}\n" for name, x in self.inputs.items()]
        head = "import numpy as np, tinyflux as flux\nfrom scipy import special\nf4 = np.float32\n"
        return f"{head}{''.join(given)}{self.text()}print(program({', '.join(self.inputs)}))"


def written(x):
    """An array as a program has it."""
    if x.size:
        return f"np.array({x.tolist()}, {x.dtype.name!r})"
    return f"np.zeros({x.shape}, {x.dtype.name!r})"


class Expression(str):
    """The text of an expression, with its value.

    Attributes: value; shape, ndim and size of it.
    """

    def __new__(cls, text, value):
        self = super().__new__(cls, text)
        self.value = np.asarray(value)
        self.shape, self.ndim, self.size = self.value.shape, self.value.ndim, self.value.size
        return self


class Draw:
    """Draws a program: recipes ask it for arguments, and give it the text of a call.

    Arguments:
        rng: where all choices come from.
    """

    def __init__(self, rng):
        self.rng = rng
        self.floats = DTYPES[self.pick(*DTYPES)]
        self.program = Program({})
        self.values = {}
        self.used = set()

    # Choices.

    def pick(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability):
        return self.rng.random() < probability

    def integer(self, low, high):
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def flag(self):
        return self.pick(True, False)

    def shape(self, ndim=None, least=0):
        ndim = self.pick(0, 1, 1, 2, 2, 2, 3) if ndim is None else ndim
        return tuple(max(least, 0 if self.chance(0.04) else self.integer(1, 3)) for _ in range(ndim))

    # Arguments.

    def x(self, ndim=None, least=0, low=None, high=None, shape=None, whole=0.06):
        """Some array of real numbers: a variable, or something new.

        Arguments:
            ndim: how many axes it has, or the fewest that it may have where it is a negative number.
            least: the smallest length of its axes.
            low, high: between which numbers it lies.
            shape: the very shape.
            whole: how probably it may be one of integers or booleans.
        """
        kinds = "fiub" if self.chance(whole) else "f"

        def fits(value):
            if value.dtype.kind not in kinds or (shape is not None and value.shape != shape):
                return False
            if ndim is not None and (value.ndim != ndim if ndim >= 0 else value.ndim < -ndim):
                return False
            return all(n >= least for n in value.shape)

        fitting = [name for name, value in self.values.items() if fits(value)]
        if not fitting or self.chance(0.1):
            if shape is None:
                shape = self.shape(ndim if ndim is None or ndim >= 0 else -ndim + self.integer(0, 1), least)
            return self.between(self.new(shape), low, high)
        name = fitting[-min(self.rng.geometric(0.35), len(fitting))]  # younger ones rather
        self.used.add(name)
        return self.between(Expression(name, self.values[name]), low, high)

    def new(self, shape):
        """A new input, or a constant."""
        dtype = self.pick(*self.floats)
        if self.chance(0.2):
            text = self.pick(f"np.full({shape}, 0.7)", f"np.linspace(-1.5, 1, {math.prod(shape)}).reshape({shape})")
            if dtype == "f4":
                text += ".astype(f4)"
            return self.evaluated(text)
        return self.input(self.rng.uniform(-2, 2, shape).astype(dtype), "x")

    def input(self, value, letter):
        value = np.asarray(value)
        name = f"{letter}{len(self.program.inputs)}"
        self.program.inputs[name] = value
        self.values[name] = value
        self.used.add(name)
        return Expression(name, value)

    def evaluated(self, text):
        return Expression(text, eval(text, dict(NAMES), self.values))

    def between(self, x, low, high):
        """An expression of the numbers of x that lies between two numbers."""
        if low is None or (x.size and low < x.value.min() and x.value.max() < high):
            return x
        text = f"({low} + {(high - low)} * special.expit({x}))"
        return self.evaluated(
            text if x.value.dtype.kind == "f" else f"({low} + {(high - low) / 2} * (1 + np.tanh({x})))"
        )

    def like(self, x, **options):
        """Another array of the same shape."""
        return self.x(shape=x.shape, **options)

    def beside(self, x, **options):
        """An array, or a number, that can be broadcast with x."""
        if self.chance(0.1):
            low, high = options.get("low", -2), options.get("high", 2)
            return self.evaluated(str(round(low + (high - low) * self.pick(0.25, 0.5, 0.8), 2)))
        shape = tuple(1 if self.chance(0.2) else n for n in x.shape)
        return self.x(shape=shape[self.integer(0, len(shape)) :] if self.chance(0.4) else shape, **options)

    def mask(self, shape):
        """Booleans of a shape."""
        if self.chance(0.3):
            return self.input(self.rng.random(shape) < 0.6, "b")
        x = self.x(shape=shape)
        return self.evaluated(
            f"({x} {self.pick('<', '>', '<=', '>=', '!=')} {self.pick('0.1', '-0.4', self.x(shape=shape))})"
        )

    def indices(self, shape, below):
        """Integers of a shape that are indices of an axis."""
        if below == 0:
            raise IndexError("there is nothing to index")
        drawn = self.rng.integers(-below, below, shape)
        if self.chance(0.4):
            return self.input(drawn.astype(self.pick("i8", "i4")), "i")
        return self.evaluated(f"np.array({drawn.tolist()}, dtype=int)")

    # Options.

    def axis(self, x, none=False):
        if none and (x.ndim == 0 or self.chance(0.25)):
            return None
        return self.integer(-x.ndim, x.ndim - 1)

    def axes(self, x):
        """What reductions take."""
        if x.ndim == 0 or self.chance(0.25):
            return None
        if self.chance(0.55):
            return self.axis(x)
        return tuple(self.rng.permutation(x.ndim)[: self.integer(0, x.ndim)].tolist())

    def reduced(self, x):
        """The options axis and keepdims, where they say something."""
        options = [f", axis={self.axes(x)}"] * self.chance(0.8) + [f", keepdims={self.flag()}"] * self.chance(0.4)
        return "".join(options)

    def permutation(self, n):
        return tuple(self.rng.permutation(n).tolist())

    def permuted(self, items):
        return [items[i] for i in self.rng.permutation(len(items))]

    def factors(self, size):
        """A shape of as many elements."""
        for _ in range(8):
            shape = tuple(self.integer(1, 4) for _ in range(self.integer(0, 3)))
            if math.prod(shape) == size:
                return shape
        return self.pick((size,), (1, size), (size, 1), (-1,) if size else (0, 1))

    def item(self, n):
        """A basic index of an axis of length n."""
        start, stop = self.integer(-n - 1, n), self.integer(-n - 1, n + 1)
        step = self.pick("", "", ":2", ":-1")
        slices = [f"{start}:{stop}{step}", f"{start}:", ":", f":{stop}", "::-1"]
        return str(self.integer(-n, n - 1)) if n and self.chance(0.4) else self.pick(*slices)

    # Statements.

    def statement(self, recipe):
        """Add a statement by a recipe, if NumPy makes something reasonable of it."""
        inputs, values, used = dict(self.program.inputs), dict(self.values), set(self.used)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                text = str(recipe(self))
                value = np.asarray(eval(text, dict(NAMES), self.values))
            good = value.dtype.kind in "fiub" and value.size <= SIZE and bool(np.all(np.abs(value) < LARGEST))
        except (ArithmeticError, IndexError, TypeError, ValueError):  # LinAlgError among them
            good = False
        if not good:
            self.program.inputs, self.values, self.used = inputs, values, used
            return False
        name = f"v{len(self.program.lines)}"
        self.program.lines[name] = text
        self.values[name] = value
        return True

    def finished(self):
        """The program, which returns what no other statement uses."""
        self.program.outputs = [name for name in self.program.lines if name not in self.used]
        return self.program


def drawn(rng, recipes, most=9):
    """A random program.

    Arguments:
        rng: a generator of random numbers.
        recipes: functions of a Draw that return the text of an expression.
        most: how many statements it has at most.
    """
    draw = Draw(rng)
    draw.input(rng.uniform(-2, 2, draw.shape()).astype(draw.pick(*draw.floats)), "x")
    for _ in range(draw.integer(2, most)):
        for _ in range(6):
            if draw.statement(draw.pick(*recipes)):
                break
    return draw.finished() if draw.program.lines else drawn(rng, recipes, most)
