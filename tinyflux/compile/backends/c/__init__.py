"""Programs as C, built by the compiler of the machine and loaded into the process."""
