"""Run the benchmark: ``python -m bench [attack] [training] [metrics] [growth] [--small]``.

On a machine that does other work, threads that spin while they wait for one another distort every
time: set ``OMP_WAIT_POLICY=passive``, or ``--threads 1``.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import torch

from bench import report
from bench.measure import import_beforehand
from lrnb._provenance import cores

PARTS = ("attack", "training", "metrics", "growth")


def main() -> None:
    """Run the parts that are named, all of them if none is, and write their tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmark lrnb.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--small", action="store_true", help="everything tiny, embedded data only")
    parser.add_argument(
        "--out", type=Path, default=Path("results/bench"), help="folder of the tables (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, help="of torch; by default one per core, and one with --small"
    )
    chosen = parser.parse_args()
    threads = chosen.threads or (1 if chosen.small else cores())
    torch.set_num_threads(threads)
    for part in chosen.parts:
        if part not in PARTS:
            parser.error(f"{part!r} is not one of {', '.join(PARTS)}")
    parts = [importlib.import_module(f"bench.{part}") for part in chosen.parts or PARTS]
    import_beforehand(library for part in parts for library in part.LIBRARIES)
    for part in parts:
        start = time.perf_counter()
        facts = report.conditions(small=chosen.small, threads=threads)
        tables = part.run(small=chosen.small, threads=threads)
        facts["seconds"] = round(time.perf_counter() - start, 1)
        for name, table in tables.items():
            report.write(name, table, chosen.out, facts)


if __name__ == "__main__":
    main()
