"""Training on the GPU by kernels made for it: the loss and its gradient, recorded once and launched ever after.

`kernels` translates a scheduled program into CUDA, `gradient` records it, gives it memory, and launches it.
"""
