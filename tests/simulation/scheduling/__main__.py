"""`python -m tests.simulation.scheduling FIRST LAST`: seeds, and what they found. With PILOTHOUSE_SEED set: one seed,
with its trace."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter

from tests.simulation.scheduling.run import run


def main() -> int:
    logging.getLogger("pilothouse").setLevel(logging.ERROR)
    if "PILOTHOUSE_SEED" in os.environ:
        outcome = run(int(os.environ["PILOTHOUSE_SEED"]))
        print(*outcome.trace, *outcome.faults, outcome.counts, outcome.fingerprint(), sep="\n")
        return 1 if outcome.faults else 0
    first, last = int(sys.argv[1]), int(sys.argv[2])
    total: Counter[str] = Counter()
    bad = 0
    began_s = time.monotonic()
    for seed in range(first, last + 1):
        outcome = run(seed)
        total.update(outcome.counts)
        if outcome.faults:
            bad += 1
            print(f"seed {seed} ({outcome.arrangement}):", *outcome.faults[:8], sep="\n  ", flush=True)
    print(f"{last - first + 1} seeds, {bad} bad, {time.monotonic() - began_s:.0f} s", dict(total))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
