"""The update step on the GPU: hand-written CUDA for the rules, one launch for all the parameters of a group.

`rule.cuh` says what a rule is in CUDA, a `.cu` file each writes one rule down, `step.cuh` is the loop they all run in.
`source` puts together the text for a rule or a chain of rules, `launch` compiles it, at first use, and launches it. The
NumPy form of a rule is the reference: rules without a kernel are stepped by that, on CuPy's arrays.
"""

from .launch import KernelStep, kernel_step

__all__ = ["KernelStep", "kernel_step"]
