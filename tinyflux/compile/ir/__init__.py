"""The program that a function becomes: a list of a few kinds of operations, and affine maps of indices."""
