"""Programs as CUDA: the loss of a training and its gradient, by kernels made for them.

`kernels` translates a scheduled program to sections of kernels: with loops over short rows as `row_fusion` puts them
together, products of matrices as `products` finds them for cuBLAS, other sums of products as `contractions` writes
them, and loops over sequences as `sequences` unrolls them; cuDNN's convolutions are nodes of the program already.
`levels` makes `launches` of what can run at the same time. `executable` makes them ready and runs them, in memory that
`schedule.buffers` shares out.
"""
