"""Tables on paper and on disk: a CSV, and beside it a JSON of what produced it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from bench.measure import matmul_gflops
from lrnb import _provenance as provenance

_PEERS = ("rai-toolbox", "foolbox", "adversarial-robustness-toolbox", "pythae", "scikit-image")


def conditions(*, small: bool, threads: int) -> dict[str, Any]:
    """What produces the tables: versions, machine, threads, load, and how fast it multiplies."""
    facts: dict[str, Any] = dict(provenance.environment())
    facts |= {package: provenance.version(package) for package in _PEERS}
    facts |= {"small": small, "threads": threads, "load_before": round(os.getloadavg()[0], 2)}
    facts["wait_policy"] = os.environ.get("OMP_WAIT_POLICY", "default")
    facts["matmul_gflops"] = round(matmul_gflops(threads=threads), 1)
    return facts


def write(name: str, table: pd.DataFrame, folder: Path, facts: dict[str, Any]) -> None:
    """Print a table, and write it as ``name.csv`` with its facts in ``name.json``."""
    print(
        f"\n{name}\n{table.to_string(index=False, float_format=lambda x: f'{x:.4g}')}", flush=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
