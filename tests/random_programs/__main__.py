"""Random programs of the whole table, against plain NumPy, finite differences, and compiled.

    python -m tests.random_programs --count 20000 --seed 1

Prints each program that fails, as a script and as small as it could be made, and at the end how many there were of
each kind; it ends with 1 where one failed. `--eager` compiles nothing.
"""

import argparse
import os
import sys
import tempfile
import time


def tell(program, failure):
    print(f"{'-' * 100}\n# {failure}\n{program}", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="tinyflux-random-programs-") as cache:
        os.environ["TINYFLUX_CACHE"] = cache  # what is compiled is not needed again
        return checked()


def checked():
    parser = argparse.ArgumentParser(prog="python -m tests.random_programs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=1000, help="how many programs (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (%(default)s)")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    options = parser.parse_args()
    from tests.random_programs.fuzz import run

    start = time.perf_counter()
    report = run(options.count, options.seed, not options.eager, tell)
    print(f"{report}; {len(report.failures)} failures; {time.perf_counter() - start:,.0f} s, seed {options.seed}")
    return min(len(report.failures), 1)


if __name__ == "__main__":
    sys.exit(main())
