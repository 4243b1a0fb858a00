"""Golden numbers: means of a smoke run's tables, committed, that every smoke run must reproduce.

The tolerance is 5% of the number or 0.002, whichever is larger: another processor rounds otherwise,
and a few epochs of training amplify that. Where a change of method moves them, renew the file and
say in the commit what moved and why:

    lrnb run --profile smoke && python tests/golden.py _build/smoke/results/smoke
"""

import sys
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("golden.csv")
RELATIVE, ABSOLUTE = 0.05, 0.002
# table → the columns that name a mean, the columns that are averaged
MEANS = {
    "01_training": (["dataset", "family"], ["squared_error", "ssim", "spread"]),
    "02_untargeted_attack": (
        ["dataset", "norm", "attack", "scale", "kind", "metric"],
        ["mean", "aaddc"],
    ),
    "02_untargeted_attack-shift": (["dataset", "kind"], ["told_apart"]),
    "03_targeted_attack": (["dataset", "metric"], ["distance", "distortion"]),
    "04_dae_comparison": (["dataset", "family", "norm", "attack", "scale"], ["aaddc"]),
    "04_dae_comparison-frontier": (["dataset", "family"], ["aaddc_whitened"]),
    "05_beta_tradeoff": (["dataset", "family"], ["aaddc_raw", "squared_error", "spread"]),
    "06_adversarial_training": (["dataset", "adv_form"], ["aaddc_raw", "diversity_prior_mse"]),
    "07_geometry-codes": (["dataset", "family"], ["sigma", "damage_large"]),
    "07_geometry-spectra": (["dataset", "family"], ["sigma"]),
    "08_attack_strength": (["dataset", "check"], ["ratio"]),
}


def means(folder: Path) -> pd.DataFrame:
    """The means of the tables in a folder of results: table, group, column, value."""
    parts = []
    for name, (by, columns) in MEANS.items():
        table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])
        if "metric" in table:  # (LPIPS needs weights that a machine may lack)
            table = table[table["metric"] != "lpips"]
        found = table.groupby(by)[columns].mean().melt(ignore_index=False, var_name="column")
        group = [" ".join(names) for names in found.index]
        parts.append(found.assign(table=name, group=group))
    return pd.concat(parts)[["table", "group", "column", "value"]].reset_index(drop=True)


if __name__ == "__main__":
    means(Path(sys.argv[1])).to_csv(FILE, index=False, float_format="%.6g")
