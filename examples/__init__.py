"""Scripts to run and to read: they use tinyflux through its public names alone."""
