"""A backend needs no more than tests/support/toy_backend.py has: it prints programs of every kind of node."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import toy_backend
from tinyflux.compile.ir import ops
from tinyflux.compile.ir.node import Node

X = np.ones((3, 4))
ORDER = np.array([2, 0])


def recurrence(x):
    return flux.scan(lambda h, x: (0.5 * h + x, h), np.zeros(4), x)[1]


# By the kind of node that it is about: a function, its arguments, and a line that is printed.
PROGRAMS = {
    "map": (np.exp, [X], "p1[4 * i0 + i1] = v1;"),
    "input": (lambda x: -x, [X], "const double v0 = p0[4 * i0 + i1];"),
    "literal": (lambda x: x + 2.5, [X], "const double v1 = v0 + 2.5;"),
    "view": (lambda x: x[::-1, 1:], [X], "const double v0 = p0[-4 * i0 + i1 + 9];"),
    "reshape": (lambda x: x.reshape(2, 6) + 1, [X], "const double v0 = p0[6 * i0 + i1];"),
    "iota": (np.tril, [X], "= i1;"),
    "gather": (lambda x, order: x[order], [X, ORDER], "if (v0 < -3ll || v0 >= 3ll) return 1;"),
    "join": (lambda x: np.concatenate([x, -x]), [X], "if (i0 < 3) {"),
    "pad": (lambda x: np.pad(x, ((2, 0), (0, 0))), [X], "if (i0 + -2 >= 0) {"),
    "reduce": (lambda x: np.sum(x, axis=1), [X], "p1 takes sum(v0, axes=[1])"),
    "scan": (lambda x: np.cumsum(x, axis=0), [X], "p1 takes scan(v0, ('sum', 0))"),
    "scatter": (
        lambda x, order: flux.gradient(lambda x: np.sum(x[order] ** 2), x), [X, ORDER], "takes scatter(",
    ),
    "call": (lambda x: np.linalg.inv(x @ x.T), [X], "call(t13, t12, ('solve', 3, 3))"),
    "winograd": (
        lambda x, w: flux.conv(x, w, pad=1), [np.ones((8, 16, 16, 32)), np.ones((32, 3, 3, 32))],
        "= winograd convolve(p0, t3, 1, 1)",
    ),
    "loop": (recurrence, [X], "loop("),
    "part": (recurrence, [X], "('stack', 0))"),
    "product": (lambda a, b: a @ b, [np.ones((64, 64)), np.ones((64, 64))], "p2 = the matrix product of p0 and p1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROGRAMS)
def test_what_is_printed(kind):
    f, arrays, line = PROGRAMS[kind]
    assert line in toy_backend.printed_function(f, *arrays)


def test_every_kind_of_node_is_printed():
    kinds = {kind.op for kind in Node.__subclasses__() if kind.__module__ == ops.__name__}
    inside_a_body = {"parameter"}
    assert kinds - inside_a_body <= {*PROGRAMS}


def test_every_kind_of_kernel_has_a_writer():
    own = {kind.op for kind in Node.__subclasses__() if kind.own_kernel}
    assert {*toy_backend.WRITERS} == own | {"map", "product"}


def test_a_whole_text():
    assert toy_backend.printed_function(lambda x: np.sum(x * x, axis=1), X) == "\n".join(
        [
            "for (int64_t i0 = 0; i0 < 3; i0++) {",
            "    for (int64_t i1 = 0; i1 < 4; i1++) {",
            "        const double v0 = p0[4 * i0 + i1];",
            "        const double v1 = v0 * v0;",
            "        p1 takes sum(v1, axes=[1])",
            "    }",
            "}",
        ]
    )


def test_what_it_cannot_do_is_refused_by_name():
    with pytest.raises(flux.NotCompilable, match=r"^nextafter can't be printed\.$"):
        toy_backend.printed_function(lambda x: np.nextafter(x, 0), X)
