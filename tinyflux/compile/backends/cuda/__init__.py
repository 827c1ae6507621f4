"""Programs as CUDA: the loss of a training and its gradient, by kernels made for them.

`kernels` translates a scheduled program, with loops over short rows as `row_fusion` puts them together, and products of
matrices as `products` finds them for cuBLAS; `memory` shares out what it calculates in.
"""
