"""What backends have to know about functions of whole rows and matrices: see `ops.Call`."""

from __future__ import annotations

# How many axes of each argument belong to one call; those before them are a stack, the same for all arguments.
CORES = {"argsort": (1,), "factors": (2,), "solve": (2, 2), "cholesky": (2,), "singular": (2,)}
FAILURES = {  # what numpy.linalg's LinAlgError says
    "solve": "Singular matrix",
    "cholesky": "Matrix is not positive definite",
    "singular": "SVD did not converge",
}
