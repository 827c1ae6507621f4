"""The tests, and what they need: tests.faults and tests.random_programs also run by themselves."""
