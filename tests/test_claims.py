"""Claims: each rule gives each of its outcomes on tables that were made for it."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lrnb import claims
from lrnb.claims import CLAIMS, judge, ledger, sensitivity, tally, verdict
from lrnb.claims.verdicts import NOT, PARTLY, REPRODUCED, UNDECIDED
from lrnb.publish.pages import verdict_sentence as sentence

SEEDS = range(3)
# small differences between seeds, so that there is an interval
JITTER = dict(zip(SEEDS, (-0.01, 0.0, 0.01), strict=True))


def damages(effect, control):
    rows = [
        (d, s, scale, "ssim", kind, eps, value)
        for d in effect
        for s in SEEDS
        for scale, kind, value in (
            ("raw", "attack", effect[d] + JITTER[s]),
            ("raw", "noise", 0.0),
            ("spread", "attack", control[d] + JITTER[s]),
            ("spread", "noise", 1.0),
        )
        for eps in (0.5, 1.0)
    ]
    columns = ["dataset", "seed", "scale", "metric", "kind", "eps", "damage"]
    return {"02_untargeted_attack": pd.DataFrame(rows, columns=columns)}


def targeted(effect, control):
    rows, straight = [], []
    for d in effect:
        for s in SEEDS:
            for eps in (0.5, 1.0):
                left = 1 - effect[d] - JITTER[s] if eps == 1 else 0.9
                rows.append((d, s, "mse", eps, left))
                # (the two effects need not be of one run)
                straight.append((d, s, eps, left + control[d] + JITTER[s]))
    columns = ["dataset", "seed", "metric", "eps", "relative"]
    return {
        "03_targeted_attack": pd.DataFrame(rows, columns=columns),
        "03_targeted_attack-straight": pd.DataFrame(
            straight, columns=["dataset", "seed", "eps", "relative"]
        ),
    }


def compared(effect, control):
    rows = [
        (d, f, s, "l2", scale, "attack", "ssim", 0.5 + (value if f != "vae" else 0) * weight)
        for d in effect
        for scale, by in (("raw", effect), ("spread", control))
        for s in SEEDS
        for value in [by[d] + JITTER[s]]
        for f, weight in (("vae", 0), ("dae_kl", 0.5), ("dae_mmd", 1.0), ("dae_swt", 1.5))
    ]
    columns = ["dataset", "family", "seed", "norm", "scale", "kind", "metric", "aaddc"]
    return {"04_dae_comparison-aaddc": pd.DataFrame(rows, columns=columns)}


def swept(effect, control):
    # a score that falls with β where the effect is positive, rises where it is negative, and goes
    # another way in each seed where it is 0
    def score(sign, i, s):
        return (i, -i, i % 2)[s] if sign == 0 else -np.sign(sign) * i

    rows = [
        (d, "tcvae", 2.0**i, s, score(effect[d], i, s), score(control[d], i, s))
        for d in effect
        for s in SEEDS
        for i in range(6)
    ]
    columns = ["dataset", "family", "beta", "seed", "aaddc_raw", "aaddc_spread"]
    return {"05_beta_tradeoff": pd.DataFrame(rows, columns=columns)}


def defended(effect, control):
    rows = []
    for d in effect:
        for s in SEEDS:
            rows.append((d, "vae", "none", 0.0, s, 0.5, 0.5))
            for form in ("trades", "maxmin"):
                for eps in (0.25, 0.5, 1.0):
                    gain = [by[d] + JITTER[s] if eps == 0.5 else 9.0 for by in (effect, control)]
                    rows.append((d, "vae_adv", form, eps, s, 0.5 + gain[0], 0.5 + gain[1]))
    columns = ["dataset", "family", "adv_form", "adv_eps", "seed", "aaddc_raw", "aaddc_spread"]
    return {"06_adversarial_training": pd.DataFrame(rows, columns=columns).assign(active=3)}


def shifted(column):
    def table(effect, control):
        rows = [
            (d, s, eps, kind, value if eps == 1 else 0.0)
            for d in effect
            for s in SEEDS
            for kind, value in (
                ("attack", effect[d] + JITTER[s]),
                ("noise", effect[d] - control[d] + 2 * JITTER[s]),
            )
            for eps in (0.5, 1.0)
        ]
        return {
            "02_untargeted_attack-shift": pd.DataFrame(
                rows, columns=["dataset", "seed", "eps", "kind", column]
            )
        }

    return table


def diverse(effect, control):
    swept_table = swept(effect, control)["05_beta_tradeoff"]
    rank = np.log2(swept_table["beta"])
    columns = {
        f"diversity_{source}_{m}": rank for source in ("prior", "fitted") for m in ("lpips", "mse")
    }
    return {"06_adversarial_training": swept_table.assign(active=3, **columns)}


MADE = {
    "vulnerable": damages,
    "steered": targeted,
    "deterministic": compared,
    "disentangled": swept,
    "defended": defended,
    "apart": shifted("told_apart"),
    "concentrated": shifted("top_share"),
    "homogeneous": diverse,
}
DATASETS = ("mnist", "celeba")


def effects(claim, kinds):
    """An effect for each data set: above, below or at the thresholds."""
    step = {"yes": 0.2, "no": -0.2, "open": 0.0}
    return tuple(
        {d: least + step[kind] for d, kind in zip(DATASETS, kinds, strict=True)}
        for least in (claim.threshold, claim.control_threshold)
    )


def test_there_are_tables_for_every_claim():
    assert set(MADE) == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("yes", "yes"), REPRODUCED),
        (("yes", "no"), PARTLY),
        (("open", "yes"), PARTLY),
        (("no", "no"), NOT),
        (("no", "open"), NOT),
        (("open", "open"), UNDECIDED),
    ],
)
def test_every_rule_gives_every_outcome(name, kinds, expected):
    claim = CLAIMS[name]
    tables = MADE[name](*effects(claim, kinds))
    judged = judge(claim, tables, decides=True)
    assert dict(zip(DATASETS, kinds, strict=True)) == (
        judged[judged["reading"] == "claim"].set_index("dataset")["holds"].to_dict()
    )
    assert verdict(judged) == expected == verdict(judged, "control")
    assert claim.title in sentence(claim, judged) and expected in sentence(claim, judged)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_and_its_control_are_judged_apart(name):
    claim = CLAIMS[name]
    (effect, _), (_, control) = effects(claim, ("yes", "yes")), effects(claim, ("no", "no"))
    judged = judge(claim, MADE[name](effect, control), decides=True)
    assert (verdict(judged), verdict(judged, "control")) == (REPRODUCED, NOT)
    assert "Under the control: not reproduced" in sentence(claim, judged)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_small_run_decides_nothing(name):
    claim = CLAIMS[name]
    tables = MADE[name](*effects(claim, ("yes", "yes")))
    assert verdict(judge(claim, tables, decides=False)) == UNDECIDED
    for fewer in ([0], [0, 1]):
        few = {k: t[t["seed"].isin(fewer)] for k, t in tables.items()}
        judged = judge(claim, few, decides=True)
        assert verdict(judged) == verdict(judged, "control") == UNDECIDED


@pytest.mark.parametrize("name", CLAIMS)
def test_other_thresholds_give_the_verdicts_that_are_said_of_them(name):
    claim = CLAIMS[name]
    tables = MADE[name](*effects(claim, ("yes", "open")))
    said = sensitivity(judge(claim, tables, decides=True))
    weakest, strongest = map(float, re.findall(r"-?\d+\.\d\d", said))
    for least, expected in (
        (weakest - 0.02, {REPRODUCED}),
        ((weakest + strongest) / 2, {PARTLY}),
        (strongest + 0.02, {NOT, UNDECIDED}),
    ):
        assert verdict(judge(replace(claim, threshold=least), tables, decides=True)) in expected
    small = judge(claim, tables, decides=False)
    assert sensitivity(small) == "too small a run to say"


def test_a_missing_table_is_named():
    with pytest.raises(ValueError, match="tables must hold 03_targeted_attack for steered"):
        judge(CLAIMS["steered"], {}, decides=True)


@pytest.mark.parametrize(("profile", "found"), [("paper", REPRODUCED), ("quick", UNDECIDED)])
def test_the_ledger_reads_what_the_chapters_saved(tmp_path, profile, found):
    tables = MADE["steered"](*effects(CLAIMS["steered"], ("yes", "yes")))
    for file, table in tables.items():
        table.to_csv(tmp_path / f"{file}.csv", index=False)
    (tmp_path / "03_targeted_attack.json").write_text(
        json.dumps({"parameters": {"profile": profile}})
    )
    judged = ledger(tmp_path)
    assert set(judged["claim"]) == {"steered"} and verdict(judged) == found
    assert ledger(tmp_path / "nothing").empty


def test_verdicts_are_counted():
    judged = pd.concat(
        judge(CLAIMS[name], MADE[name](*effects(CLAIMS[name], ("yes", "open"))), decides=True)
        for name in ("vulnerable", "defended", "apart")
    )
    assert tally(judged) == f"3 {PARTLY}"


def test_every_claim_names_a_chapter_and_tables_of_it():
    for claim in claims.CLAIMS.values():
        assert claim.tables and all(name.startswith(claim.chapter) for name in claim.tables)


@pytest.mark.parametrize("name", ["defended", "homogeneous"])
def test_a_model_that_ignores_its_code_does_not_pass_the_control(name):
    claim = CLAIMS[name]
    tables = MADE[name](*effects(claim, ("no", "no")))
    table = tables["06_adversarial_training"]
    # the largest scores and no diversity, in a form or at a β of its own
    deaf = table[table["family"] != "vae"].assign(active=0, adv_form="deaf", beta=99.0)
    deaf[["aaddc_raw", "aaddc_spread"]] = 50.0
    deaf[[c for c in deaf if c.startswith("diversity")]] = -9.0
    both = {"06_adversarial_training": pd.concat([table, deaf], ignore_index=True)}
    assert verdict(judge(claim, both, decides=True), "control") == NOT
    before, after = (judge(claim, t, decides=True) for t in (tables, both))
    control = before["reading"] == "control"
    pd.testing.assert_frame_equal(before[control], after[control])
    assert not np.allclose(before.loc[~control, "effect"], after.loc[~control, "effect"])


@pytest.mark.parametrize("name", ["defended", "homogeneous"])
def test_where_every_model_ignores_its_code_the_control_is_open(name):
    claim = CLAIMS[name]
    table = MADE[name](*effects(claim, ("yes", "yes")))["06_adversarial_training"]
    table.loc[table["dataset"] == "mnist", "active"] = 0
    judged = judge(claim, {"06_adversarial_training": table}, decides=True)
    judged = judged[judged["reading"] == "control"].set_index("dataset")
    assert judged["holds"].to_dict() == {"mnist": "open", "celeba": "yes"}


def test_a_form_that_collapsed_for_one_seed_is_left_out_for_all():
    table = defended({"mnist": 0.1}, {"mnist": 0.1})["06_adversarial_training"]
    broken = (table["adv_form"] == "maxmin") & (table["seed"] == 1)
    table.loc[table["adv_form"] == "maxmin", "aaddc_spread"] += 0.3
    table.loc[broken, ["active", "aaddc_spread"]] = 0, 1.0
    judged = judge(CLAIMS["defended"], {"06_adversarial_training": table}, decides=True)
    control = judged[judged["reading"] == "control"].iloc[0]
    assert control["effect"] == pytest.approx(0.1 + np.mean([JITTER[s] for s in SEEDS]))
    assert control["seeds"] == 3
