"""Text that C and CUDA have in common: expressions, loops, and reductions."""
