"""Programs as CUDA: the loss of a training and its gradient, by kernels made for them.

`kernels` translates a scheduled program to sections of kernels. `stages` finds what is calculated together; `sections`
and `rows` write it, and `lanes` says how threads share it out. Large products of matrices are left to cuBLAS, and other
sums of products are calculated in tiles, as `contractions` finds and writes them; `sequences` unrolls loops over
sequences; cuDNN's convolutions are nodes of the program already. `indices` and `scatter` are about indices in arrays,
`calls` about sorting and matrices, `grid` about loops that all blocks share. `levels` makes `launches` of what can run
at the same time. `executable` makes them ready and runs them, in memory that `schedule.buffers` shares out.
`persistent` makes one kernel of whole iterations.
"""
