"""Programs as CUDA: the loss of a training and its gradient, by kernels made for them.

`kernels` translates a scheduled program to sections of kernels. `stages` finds what is calculated together, and
`sections` writes it. Large products of matrices are left to cuBLAS, as `products` finds them; other sums of products
are calculated in tiles, as `contractions` writes them; `sequences` unrolls loops over sequences; cuDNN's convolutions
are nodes of the program already. `indices` and `scatter` are about indices in arrays, `calls` about sorting and
matrices, `grid` about how threads share out a loop. `levels` makes `launches` of what can run at the same time.
`executable` makes them ready and runs them, in memory that `schedule.buffers` shares out.
"""
