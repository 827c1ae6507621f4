"""What is calculated into memory, in which loops, and in which order."""
