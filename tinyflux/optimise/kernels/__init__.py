"""The update step on the GPU: CUDA for the rules, one launch for all the parameters of a group.

What a rule does with one element is written from its NumPy form, `step.cuh` is the loop that this stands in. `source`
puts the two together, `launch` compiles the text, at first use, and launches it. Rules without a kernel are stepped by
their NumPy form, on CuPy's arrays.
"""

from .launch import KernelStep, kernel_step

__all__ = ["KernelStep", "kernel_step"]
