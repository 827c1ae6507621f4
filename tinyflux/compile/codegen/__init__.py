"""Text that C and CUDA have in common: expressions, and functions of numbers."""
