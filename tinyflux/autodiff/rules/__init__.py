"""The table of gradient rules: a NumPy function, and how the cotangent of its result flows to each argument.

A pullback is `(g, y, *arguments, **options) -> cotangent of one argument`, where g is the cotangent of the result y. It
is a NumPy expression, so it can be differentiated again. None stands for an argument that no gradient flows to. Where
an argument was broadcast, the sweep sums the cotangent back to its shape: pullbacks of elementwise functions need not.

At kinks: |x| has slope 0 at 0; maximum, minimum, max and min split evenly between ties (as autograd and JAX do), and so
does logaddexp between equal infinities; clip passes the gradient at its bounds; a norm, std and hypot have slope 0 at
the origin, where their second derivatives are NaN; sort gives the gradient of equal elements in their order; x⁰ has
slope 0, and a^x has slope 0 at a = 0; a·log(b) has slope 0 for a at a = b = 0.

The module `special` isn't imported here: `rule_of` imports it when the first function of scipy.special is met.
"""

from . import (  # noqa: F401  (each enters its rules)
    accumulations,
    decompositions,
    elementwise,
    indexing,
    joining,
    linalg,
    products,
    reductions,
    sampled,
    shapes,
    statistics,
)
