"""The table of gradient rules: a NumPy function, and how the cotangent of its result flows to each argument.

A pullback is `(g, y, *arguments, **options) -> cotangent of one argument`, where g is the cotangent of the result y. It is
a NumPy expression, so it can be differentiated again. None stands for an argument that no gradient flows to. Where an
argument was broadcast, the sweep sums the cotangent back to its shape: pullbacks of elementwise functions need not.

At kinks: |x| has slope 0 at 0; maximum, minimum, max and min split evenly between ties (as autograd and JAX do);
clip passes the gradient at its bounds; a norm has slope 0 at the origin.
"""

from . import elementwise, linalg, reductions, shapes

__all__ = ["elementwise", "linalg", "reductions", "shapes"]
