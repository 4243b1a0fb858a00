"""The benchmark runs, small, and writes what the book shows."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def test_a_small_run_writes_every_table(tmp_path):
    # (it begins by checking each peer on a linear decoder, whose worst perturbation is known)
    command = [sys.executable, "-m", "bench", "--small", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = {file.stem: pd.read_csv(file) for file in tmp_path.glob("*.csv")}
    assert set(tables) == {"attack", "attack_summary", "training", "metrics", "growth"}
    for name in tables:
        made = json.loads((tmp_path / f"{name}.json").read_text())
        assert made["device"] and made["threads"] and made["matmul_gflops"] > 0
    assert {"plain", "rai_toolbox", "foolbox", "art"} <= set(tables["attack"]["attack"])
    assert (tables["attack"]["seconds"] > 0).all() and (tables["attack"]["decodes"] > 0).all()
    assert (tables["training"]["images_per_second"] > 0).all()
    worst = tables["metrics"].query("metric == 'ssim' and by == 'lrnb'")["largest_difference"]
    assert worst.item() == pytest.approx(0, abs=1e-4)
