"""examples/landscapes: the functions, the paths over them, the rules from text, and the tutorial's run."""

import math

import numpy as np
import pytest

import tinyflux as flux
from examples.landscapes import functions, tables, tutorial
from examples.landscapes.functions import LANDSCAPES
from examples.landscapes.paths import convergence, outcome, parse_rule, ran_away, walk

# The functions


def test_all_that_are_asked_for():
    assert list(LANDSCAPES) == [
        "ackley",
        "rosenbrock",
        "beale",
        "himmelblau",
        "rastrigin",
        "booth",
        "three-hump-camel",
    ]


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        ("ackley", (0, 0), 0),
        ("ackley", (1, 0), 20 - 20 * math.exp(-0.2 * math.sqrt(0.5))),  # every cosine is 1: e − e¹ drop out
        ("ackley", (0.5, -0.5), 20 + math.e - 20 * math.exp(-0.1) - math.exp(-1)),
        ("rosenbrock", (1, 1), 0),
        ("rosenbrock", (-1.2, 1), 24.2),
        ("rosenbrock", (2, 3), 101),
        ("beale", (3, 0.5), 0),
        ("beale", (0, 7), 1.5**2 + 2.25**2 + 2.625**2),
        ("beale", (1, 2), 2.5**2 + 5.25**2 + 9.625**2),
        ("himmelblau", (3, 2), 0),
        ("himmelblau", (0, 0), 121 + 49),
        ("himmelblau", (1, -2), 144 + 4),
        ("rastrigin", (0, 0), 0),
        ("rastrigin", (1, -2), 5),
        ("rastrigin", (0.5, 0.25), 20 + 0.25 + 0.0625 + 10),
        ("booth", (1, 3), 0),
        ("booth", (0, 0), 49 + 25),
        ("booth", (2, -1), 49 + 4),
        ("three-hump-camel", (0, 0), 0),
        ("three-hump-camel", (1, 2), 2 - 1.05 + 1 / 6 + 2 + 4),
    ],
)
def test_values_by_hand(name, point, value):
    assert LANDSCAPES[name].function(np.array(point, float)) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_many_points_at_once(landscape):
    points = np.random.default_rng(0).normal(size=(3, 4, 2))
    before = points.copy()
    values = landscape.function(points)
    assert values.shape == (3, 4)
    np.testing.assert_allclose(values, [[landscape.function(p) for p in row] for row in points], rtol=1e-14)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_the_minima_are_where_the_value_is_0_and_nowhere_lower(landscape):
    grid = np.stack(np.meshgrid(*(np.linspace(*limits, 401) for limits in landscape.region)), axis=-1)
    assert (landscape.function(grid) >= -1e-14).all()
    for minimum in landscape.minima:
        assert landscape.function(np.array(minimum, float)) < 1e-14
        assert np.abs(flux.gradient(landscape.function, np.array(minimum, float))).max() < 1e-12
    assert len(set(landscape.minima)) == (4 if landscape.function is functions.himmelblau else 1)


def ackley_gradient(x, y):
    distance = math.hypot(x, y) / math.sqrt(2)
    slope, ripples = 2 * math.exp(-0.2 * distance) / distance, math.cos(2 * math.pi * x) + math.cos(2 * math.pi * y)
    return [slope * c + math.pi * math.sin(2 * math.pi * c) * math.exp(ripples / 2) for c in (x, y)]


def beale_gradient(x, y):
    terms = [(c - x + x * y**k, y**k - 1, k * x * y ** (k - 1)) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return [sum(2 * term * dx for term, dx, _ in terms), sum(2 * term * dy for term, _, dy in terms)]


GRADIENTS = {
    "ackley": ackley_gradient,
    "rosenbrock": lambda x, y: [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)],
    "beale": beale_gradient,
    "himmelblau": lambda x, y: [
        4 * x * (x * x + y - 11) + 2 * (x + y * y - 7),
        2 * (x * x + y - 11) + 4 * y * (x + y * y - 7),
    ],
    "rastrigin": lambda x, y: [2 * c + 20 * math.pi * math.sin(2 * math.pi * c) for c in (x, y)],
    "booth": lambda x, y: [10 * x + 8 * y - 34, 8 * x + 10 * y - 38],
    "three-hump-camel": lambda x, y: [4 * x - 4.2 * x**3 + x**5 + y, x + 2 * y],
}


@pytest.mark.parametrize("name", LANDSCAPES)
def test_gradients_by_hand(name):
    for point in np.random.default_rng(1).uniform(-3, 3, (20, 2)):
        found = flux.gradient(LANDSCAPES[name].function, point)
        np.testing.assert_allclose(found, GRADIENTS[name](*point), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_gradients_of_both_orders_by_differences(landscape):
    flux.gradcheck(landscape.function, np.array([-1.3, 0.7]), tolerance=1e-5)


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_what_is_shown_by_default(landscape):
    assert all(low < c < high for c, (low, high) in zip(landscape.start, landscape.region))
    for x, y in landscape.minima:
        (left, right), (bottom, top) = landscape.region
        assert left < x < right
        assert bottom < y < top
    names = [type(parse_rule(text)).__name__ for text in landscape.rules]
    assert names == ["Descent", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam"]


# Paths


def test_descent_on_booth_is_a_power_of_a_matrix():
    start, minimum, hessian = np.array([-8.0, 6.0]), np.array([1.0, 3.0]), np.array([[10, 8], [8, 10]])
    points = walk(flux.Descent(0.05), (-8, 6), lambda p: flux.gradient(functions.booth, p), 30)
    shrink = np.eye(2) - 0.05 * hessian
    expected = [minimum + np.linalg.matrix_power(shrink, n) @ (start - minimum) for n in range(31)]
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_momentum_over_ackley_by_hand():
    """The default picture's steps to convergence, by a loop and a gradient that know nothing of tinyflux."""
    x, y, u, v = -2.5, 1.5, 0.0, 0.0
    distances = [math.hypot(x, y)]
    for _ in range(200):
        gx, gy = ackley_gradient(x, y)
        u, v = 0.9 * u + 0.007 * gx, 0.9 * v + 0.007 * gy
        x, y = x - u, y - v
        distances.append(math.hypot(x, y))
    steps = max(n for n, d in enumerate(distances) if d > 0.02) + 1
    points = walk(parse_rule("Momentum(0.007, 0.9)"), (-2.5, 1.5), lambda p: flux.gradient(functions.ackley, p), 200)
    assert convergence(points, [(0, 0)], 0.02) == steps == 80
    np.testing.assert_allclose(points[-1], [x, y], atol=1e-6)


def test_it_ends_where_x_and_y_together_hardly_move():
    moves = [(1, -1), (0.2, 0.2), (0.1, -0.1), (1, 1)]
    gradients = iter(np.array(moves))
    points = walk(flux.Descent(1.0), (0, 0), lambda p: next(gradients), steps=4, least=0.3)
    np.testing.assert_allclose(points, [(0, 0), (-1, 1), (-1.2, 0.8), (-1.3, 0.9)])


@pytest.mark.parametrize("rate", [30.0, 1e300])
def test_a_rule_that_runs_away_ends_there_without_a_warning(rate):
    points = walk(flux.Descent(rate), (2, 2), lambda p: flux.gradient(functions.beale, p), 50)
    assert ran_away(points)
    assert not ran_away(points[:-1])
    assert len(points) < 50
    assert outcome(points, [(3, 0.5)], 0.02) == "diverged"


def test_not_a_number_has_run_away():
    points = walk(flux.Descent(1.0), (2, 2), lambda p: p * np.nan, 50)
    assert len(points) == 2
    assert outcome(points, [(2, 2)], 0.02) == "diverged"


@pytest.mark.parametrize(
    ("xs", "steps", "said"),
    [
        ([5, 4, 0.1, 0.05], 2, "2"),
        ([5, 0.1, 4, 0.1, 0], 3, "3"),  # through the minimum, and back
        ([5, 0.1, 4], None, "–"),
        ([5, 4, 8.9, 8.99], 2, "2"),  # the other minimum
        ([0.1, 0.1], 0, "0"),
        ([5] * 1234 + [0], 1234, "1,234"),
    ],
)
def test_convergence(xs, steps, said):
    points = np.array([(x, 7.0) for x in xs])
    minima = [(0, 7), (9, 7)]
    assert convergence(points, minima, 0.11) == steps
    assert outcome(points, minima, 0.11) == said


# Rules from text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Descent(0.5)", flux.Descent(0.5)),
        (" Descent ", flux.Descent()),
        ("ADAM(1e-2, beta=(0.8, 0.9))", flux.Adam(0.01, (0.8, 0.9))),
        ('Momentum(0.1, rho=0.5, form="torch")', flux.Momentum(0.1, 0.5, "torch")),
        ("Adam(beta=(schedules.Demon(0.9, 50), 0.999))", flux.Adam(beta=(flux.schedules.Demon(0.9, 50), 0.999))),
        (
            "OptimiserChain(ClipNorm(1), Descent(schedules.Cosine(0.1, over=9)))",
            flux.OptimiserChain(flux.ClipNorm(1), flux.Descent(flux.schedules.Cosine(0.1, over=9))),
        ),
    ],
)
def test_a_rule_from_text(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Desent(0.1)", r"^unknown: Desent; there are ADAM, .*\bDescent, .*\bNesterov, "),
        ("Descent(schedules.Cosin(1, 2))", r"^unknown: schedules.Cosin; there are schedules.Constant, "),
        ("Chain(0.1)", "^unknown: Chain;"),
        ("Descent(0.1", r"^expected a rule such as Momentum\(0.01, 0.9\), got 'Descent\(0.1'$"),
        ("", "^expected a rule such as .*, got ''$"),
        ("schedules.Constant(0.1)", "^expected a rule such as"),
        ("Descent(0.1 * 2)", r"^expected plain numbers as arguments, got 0.1 \* 2$"),
        ("Descent(x)", "^expected plain numbers as arguments, got x$"),
        ("Descent(*(1,))", r"^expected plain numbers as arguments, got \*\(1,\)$"),
        ("Descent(lr=0.1)", r"^Descent\(lr=0.1\): .*eta"),
        ("Descent(**{'eta': 1})", r"^Descent\(\*\*"),
        ("Descent(0.1, 0.2)", r"^Descent\(0.1, 0.2\): "),
        ("Descent('a')", r"^Descent: expected eta to be a finite number, at least 0, got 'a'"),
        ("QHAdam(nu=0.7)", "^QHAdam: expected nu to be two numbers of at least 0, got 0.7"),
        ("Momentum(0.1, 2)", "rho"),
        ("open('made.txt', 'w')", "^unknown: open;"),
        ("Descent(open('made.txt', 'w'))", "^unknown: open;"),
        ("().__class__()", "^unknown: "),
    ],
)
def test_what_is_no_rule(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        parse_rule(text)
    assert not list(tmp_path.iterdir())


def test_every_rule_of_the_library_can_be_named():
    for rule in (*flux.optimise.RULES, *flux.optimise.MODIFIERS):
        assert isinstance(parse_rule(rule.__name__), rule)


# The tutorial


def tutorials_loop(gradient, rate, momentum, start=-2.0, longest=1000):
    """The epochs, and x and y at the end, in plain Python."""
    x = y = start
    u = v = 0.0
    for epoch in range(1, longest + 1):
        gx, gy = gradient(x, y)
        u, v = momentum * u + rate * gx, momentum * v + rate * gy
        x, y = x - u, y - v
        if abs(u) + abs(v) < 1e-3:
            return epoch, x, y
    return None, x, y


def f(x, y):
    slope = 20 * math.exp(-0.2 * math.sqrt((x * x + y * y) / 2))
    return 20 + math.e - slope - math.exp((math.cos(2 * math.pi * x) + math.cos(2 * math.pi * y)) / 2)


def as_printed(x, y, h=1e-3):
    return f(x + h, y) - f(x - h, y) / (2 * h), f(x, y + h) - f(x, y - h) / (2 * h)


def run(gradient, momentum, start=-2.0):
    rule = flux.Momentum(1e-5, momentum) if momentum else flux.Descent(1e-5)
    return tutorial.Run(gradient, rule, (start, start)).points()


@pytest.mark.parametrize(("momentum", "epochs", "end"), [(0, 139, -0.01838), (0.1, 127, -0.01710)])
def test_the_code_as_printed_gives_the_tutorials_numbers(momentum, epochs, end):
    points = run("as printed", momentum)
    assert len(points) - 1 == tutorial.epochs(points) == epochs
    assert [round(c, 5) for c in points[-1]] == [end, end]
    found, x, y = tutorials_loop(as_printed, 1e-5, momentum)
    assert found == epochs
    np.testing.assert_allclose(points[-1], [x, y], rtol=1e-9)


@pytest.mark.parametrize("momentum", [0, 0.1, 0.9])
@pytest.mark.parametrize("gradient", ["central difference", "flux.gradient"])
def test_with_a_gradient_it_stops_after_one_step(gradient, momentum):
    points = run(gradient, momentum)
    assert len(points) - 1 == tutorial.epochs(points) == 1
    assert [round(c, 5) for c in points[-1]] == [-1.99999, -1.99999]
    np.testing.assert_allclose(points[-1], np.add(-2, -1e-5 * np.array(ackley_gradient(-2, -2))), rtol=1e-10)


@pytest.mark.parametrize(("momentum", "start"), [(0.9, -2.0), (0, 2.0), (0.1, 2.0)])
def test_what_runs_away(momentum, start):
    points = run("as printed", momentum, start)
    assert tutorial.epochs(points) is None
    epochs, x, y = tutorials_loop(as_printed, 1e-5, momentum, start, longest=len(points) - 1)
    assert epochs is None
    assert x > 100
    np.testing.assert_allclose(points[-1], [x, y], rtol=1e-9)
    assert (np.diff(points, axis=0) > 0).all()


def test_the_printed_expression_is_about_minus_499_f():
    points = np.random.default_rng(0).uniform(-3, 3, (50, 2))
    found = tutorial.printed(functions.ackley, points)
    np.testing.assert_allclose(found, [as_printed(x, y) for x, y in points], rtol=1e-9)
    np.testing.assert_allclose(found, -499 * np.array([[f(x, y)] * 2 for x, y in points]), rtol=0.03)
    np.testing.assert_allclose(
        tutorial.central(functions.ackley, points), [ackley_gradient(x, y) for x, y in points], atol=1e-3
    )
    np.testing.assert_allclose(tutorial.exact(functions.ackley, points), [ackley_gradient(*p) for p in points])


def test_a_check_tells_a_gradient_from_none():
    verdicts = {name: tutorial.check(gradient, tutorial.START) for name, gradient in tutorial.GRADIENTS.items()}
    assert verdicts["central difference"] == verdicts["flux.gradient"] == ""
    assert verdicts["as printed"].startswith(
        "gradcheck: the derivative (order 1) for argument 0 in direction 1 is -0.08"
    )


def test_the_report_of_the_tutorial():
    text = tutorial.report({run: run.points() for run in tutorial.RUNS})
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    rows = {tuple(row[:3]): row[3:] for row in table}
    printed, here = "as printed", "(-2, -2)"
    assert rows[printed, "Descent(1e-05)", here] == ["139", "139", "(-0.01838, -0.01838)", "0.0914"]
    assert rows[printed, "Momentum(1e-05, 0.1)", here] == ["127", "127", "(-0.01710, -0.01710)", "0.0839"]
    assert rows[printed, "Momentum(1e-05, 0.9)", here][0] == "runs away"
    assert rows[printed, "Descent(1e-05)", "(2, 2)"][0] == "runs away"
    for gradient in ("central difference", "flux.gradient"):
        for rule in ("Descent(1e-05)", "Momentum(1e-05, 0.1)", "Momentum(1e-05, 0.9)"):
            assert rows[gradient, rule, here] == ["1", "", "(-1.99999, -1.99999)", "6.59"]
    assert rows["flux.gradient", "Descent(0.01)", here][2] == "(-1.97479, -1.97479)"  # the hollow's floor is -1.97445
    assert rows[printed, "(-3,290.891, -3,290.891)", "fails"] == []
    assert rows["flux.gradient", "(-1.341, -1.341)", "passes"] == []
    assert "gradcheck: the derivative (order 1)" in text
    assert "A plausible picture is no proof of a gradient. A gradient check is" in text


# Tables


def test_a_table_reads_well_as_it_is():
    assert tables.markdown(("a", "bc"), [("–", "1"), ("long", "")]) == "\n".join(
        ["| a    | bc |", "|------|----|", "| –    | 1  |", "| long |    |"]
    )


def test_a_point():
    assert tables.point((-2.0, 1.5)) == "(-2, 1.5)"
    assert tables.point(np.array([-0.0001, 1 / 3]), "z.3f") == "(0.000, 0.333)"
