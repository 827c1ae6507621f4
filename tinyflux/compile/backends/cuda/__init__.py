"""Training on the GPU by kernels made for it: the loss and its gradient, recorded once and launched ever after.

`kernels` translates a scheduled program into CUDA, with loops over short rows as `rows` puts them together; `gradient`
records it, gives it memory, which `memory` shares out, and launches it.
"""
