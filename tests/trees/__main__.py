"""Generated trees against hosts with odd things in the way: ``python -m tests.trees --count 1000 [--first N]``; as root."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.trees.case import Found, base_directory, try_case

EVERY = 50
"""Cases between two lines about the progress."""


def main() -> int:
    """Try the cases that the arguments name. Returns the exit code: 0 if nothing is other than promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.trees", description=str(__doc__))
    parser.add_argument("--count", type=int, default=1000, help="how many cases (default 1000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first one (default 0)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("trees: root is needed, for owners, devices and an agent that isn't root\n")
        return 2
    begun, whole, bad = time.monotonic(), Found(), set[int]()
    with base_directory() as base:
        for number in range(options.first, options.first + options.count):
            found = try_case(number, base)
            whole.add(found)
            for each in found.violations:
                print(f"trees: VIOLATION case {number}: {each}", flush=True)
            if found.violations:
                bad.add(number)
                print(f"  again: python -m tests.trees --first {number} --count 1", flush=True)
            if (number + 1 - options.first) % EVERY == 0:
                print(f"trees: {whole.text()} in {time.monotonic() - begun:.0f} s", flush=True)
    print(f"trees: {whole.text()} in {time.monotonic() - begun:.0f} s, {sum(os.times()[:4]):.0f} s of CPU; {len(bad)} cases are bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
