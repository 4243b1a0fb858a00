"""Claims: effects from tables made for them, the rule and its error rates, verdicts, the ledger."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from lrnb import claims
from lrnb.claims import CLAIMS, judge, ledger, survives, tally, verdict, what_would_change
from lrnb.claims.verdicts import CONTRADICTED, HOLDS, MIXED, NONE, UNDECIDED, VERDICTS, decision
from lrnb.metrics.density import UNITS
from lrnb.metrics.statistics import bounded_interval, interval
from lrnb.publish.ledger import verdict_text
from lrnb.studies.untargeted import SCALES

SEEDS = range(3)
DATASETS = ("mnist", "celeba")
# small differences between seeds, so that there is an interval
JITTER = dict(zip(SEEDS, (-0.01, 0.0, 0.01), strict=True))
EPS = (0.5, 1.0)


WAYS = [
    (norm, attack, scale)
    for norm, attack in (("l2", "ours"), ("linf", "ours"), ("l2", "ssim"), ("l2", "pgd"))
    for scale in SCALES
    if scale != "whitened" or (norm, attack) == ("l2", "ours")
]
CURVE = ["norm", "attack", "scale", "metric", "kind", "mean", "half", "end"]


def damages(effect):
    """Attack minus noise is the effect, at each ε, norm, scale and metric."""
    rows = [
        (d, s, *way, metric, kind, value, value, value)
        for d in DATASETS
        for s in SEEDS
        for way in WAYS
        for metric in ("ssim", "lpips", "mse", "flips")
        for kind, value in (("attack", 0.4 + effect[d] + JITTER[s]), ("noise", 0.4))
    ]
    table = pd.DataFrame(rows, columns=["dataset", "seed", *CURVE])
    return {"02_untargeted_attack": table.assign(own=0.4, between=1.0, clean=1.0, samples=64)}


def targeted(effect):
    """The attack covers 0.3 + effect, the mean and another image and the straight step 0.3."""
    rows = [
        (d, s, "mse", eps, 1 - 0.3 - effect[d] - JITTER[s])
        for d in DATASETS for s in SEEDS for eps in EPS
    ]  # fmt: skip
    attacked = pd.DataFrame(rows, columns=["dataset", "seed", "metric", "eps", "relative"])
    attacked = attacked.assign(steered=0.7 - attacked["relative"], labelled=0.5, labelled_clean=0.1)
    straight = attacked[["dataset", "seed", "eps"]].assign(relative=0.7, mean_image=0.7)
    return {"03_targeted_attack": attacked, "03_targeted_attack-straight": straight}


def compared(effect):
    """ln of the VAE's damage over each family's is the effect, and that of each β-VAE's."""
    rows, models = [], []
    for d in DATASETS:
        for s in SEEDS:
            for f in ("vae", "dae_kl", "rae", "dae_mmd", "dae_swt"):
                value = 0.4 * (math.exp(-effect[d] - JITTER[s]) if f != "vae" else 1)
                rows += [
                    (d, f, s, *way, metric, "attack", value, value, value)
                    for way in WAYS
                    for metric in ("ssim", "lpips", "mse", "flips")
                ]
                betas = (0.5, 1.0, 2.0) if f == "vae" else (1.0,)
                models += [(d, f, b, s, 3, 10 * b, *[1 - value] * len(SCALES)) for b in betas]
    table = pd.DataFrame(rows, columns=["dataset", "family", "seed", *CURVE])
    areas = [f"aaddc_{scale}" for scale in SCALES]
    columns = ["dataset", "family", "beta", "seed", "active", "squared_error", *areas]
    return {
        "04_dae_comparison": table.assign(between=1.0, clean=1.0, samples=64),
        "04_dae_comparison-frontier": pd.DataFrame(models, columns=columns),
    }


def swept(effect):
    """Robustness falls with β where the effect is positive, rises where it is negative."""
    rows = []
    for d in DATASETS:
        for s in SEEDS:
            for family in ("tcvae", "vae"):
                for i in range(8):
                    score = -np.sign(effect[d]) * i if effect[d] else (i * 5 + s) % 8
                    areas = {f"aaddc_{scale}": score for scale in SCALES}
                    areas |= {f"damage_{scale}": -score for scale in SCALES}
                    model = dict(dataset=d, family=family, beta=2.0**i, seed=s, active=3)
                    rows.append(model | areas | {"squared_error": (i * 3) % 8})
    return {"05_beta_tradeoff": pd.DataFrame(rows)}


AREAS = [f"aaddc_{scale}" for scale in SCALES]
AREAS += [f"aaddc_linf_{scale}" for scale in SCALES if scale != "whitened"]


def defended(effect):
    """ln of the damage before over that after is the effect, for each form and radius."""
    rows = []
    for d in DATASETS:
        for s in SEEDS:
            rows.append((d, "vae", "none", 0.0, s, *[0.5] * len(AREAS)))
            after = 1 - 0.5 * math.exp(-effect[d] - JITTER[s])
            for form in ("trades", "maxmin"):
                of_all = [after] * len(AREAS)
                scale = {"mnist": 1.0, "celeba": 2.0}[d]
                rows += [(d, "vae_adv", form, e * scale, s, *of_all) for e in (0.25, 0.5)]
    columns = ["dataset", "family", "adv_form", "adv_eps", "seed", *AREAS]
    return {"06_adversarial_training": pd.DataFrame(rows, columns=columns).assign(active=3)}


def shifted(effect):
    rows = [
        (d, s, eps, kind, 0.5 + (effect[d] + JITTER[s]) * (kind == "attack"))
        for d in DATASETS for s in SEEDS for eps in EPS for kind in ("attack", "noise")
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["dataset", "seed", "eps", "kind", "told_apart"])
    table = table.assign(
        top_share=table["told_apart"], told_by_kernel=table["told_apart"], even_share=0.5,
        linear_share=0.5,
    )  # fmt: skip
    return {"02_untargeted_attack-shift": table}


def diverse(effect):
    table = swept(effect)["05_beta_tradeoff"].query("family == 'vae'")
    rank = np.log2(table["beta"])
    columns = {
        f"diversity_{source}_{m}": rank
        for source in ("prior", "fitted")
        for m in ("lpips", "mse", "vendi")
    }
    return {"06_adversarial_training": table.assign(**columns)}


MADE = {
    "vulnerable": damages,
    "steered": targeted,
    "dae_kl": compared,
    "dae_mmd": compared,
    "dae_swt": compared,
    "disentangled": swept,
    "defended": defended,
    "apart": shifted,
    "concentrated": shifted,
    "homogeneous": diverse,
}
# those of which some combinations of choices do not exist, as a whitened L∞ ball
PARTIAL = ("vulnerable", "steered", "dae_kl", "dae_mmd", "dae_swt", "defended")
CORRELATIONS = ("disentangled", "homogeneous")
SIZES = {HOLDS: 0.3, CONTRADICTED: -0.3, NONE: 0.0}


def made(name, *found):
    """Tables in which a claim has these findings on the data sets."""
    return MADE[name](dict(zip(DATASETS, (SIZES[f] for f in found), strict=True)))


def test_there_are_tables_for_every_claim():
    assert set(MADE) == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((HOLDS, HOLDS), HOLDS),
        ((CONTRADICTED, CONTRADICTED), CONTRADICTED),
        ((NONE, NONE), NONE),
        ((HOLDS, CONTRADICTED), MIXED),
        ((HOLDS, NONE), MIXED),
    ],
)
def test_every_claim_can_have_every_verdict(name, found, expected):
    if name in CORRELATIONS and NONE in found:
        pytest.skip("so few models cannot show that there is no correlation")
    judged = judge(CLAIMS[name], made(name, *found), decides=True)
    for reading in ("primary", "control"):
        rows = judged[judged["reading"] == reading].set_index("dataset")
        assert rows["found"].to_dict() == dict(zip(DATASETS, found, strict=True))
        assert verdict(judged, reading) == expected
    text = verdict_text(CLAIMS[name], judged)
    assert CLAIMS[name].title in text and f"{expected}.**" in text


@pytest.mark.parametrize("name", CLAIMS)
def test_each_combination_of_choices_is_judged_once_on_each_data_set(name):
    claim = CLAIMS[name]
    judged = judge(claim, made(name, HOLDS, HOLDS), decides=True)
    assert not judged.duplicated(["choices", "dataset"]).any()
    combinations = judged["choices"].nunique()
    entries = pd.DataFrame([dict(p.split(": ") for p in c.split("; ")) for c in judged["choices"]])
    assert combinations >= 4
    product = math.prod(entries.nunique())
    assert combinations < product if name in PARTIAL else combinations == product
    assert entries.notna().all(axis=None)
    assert list(entries) == list(claim.primary) and set(claim.control) <= set(claim.primary)
    assert (judged["reading"] == "primary").sum() == len(DATASETS)
    assert (judged["reading"] == "control").sum() == len(DATASETS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_small_run_decides_nothing(name):
    tables = made(name, HOLDS, HOLDS)
    assert set(judge(CLAIMS[name], tables, decides=False)["found"]) == {UNDECIDED}
    for fewer in ([0], [0, 1]):
        few = {k: t[t["seed"].isin(fewer)] for k, t in tables.items()}
        assert set(judge(CLAIMS[name], few, decides=True)["found"]) == {UNDECIDED}


def test_effects_are_what_they_say():
    """The primary effects on tables whose effect is known: 0.3, but for the rank correlations."""
    for name in set(CLAIMS) - set(CORRELATIONS):
        judged = judge(CLAIMS[name], made(name, HOLDS, NONE), decides=True)
        effects = judged.query("reading == 'primary'").set_index("dataset")["effect"]
        assert effects["mnist"] == pytest.approx(0.3) and effects["celeba"] == pytest.approx(0)
    for name in CORRELATIONS:
        judged = judge(CLAIMS[name], made(name, HOLDS, CONTRADICTED), decides=True)
        effects = judged.query("reading == 'primary'").set_index("dataset")["effect"]
        assert effects.to_dict() == pytest.approx({"mnist": 1.0, "celeba": -1.0})


def test_a_family_is_compared_at_equal_clean_error_where_the_sweep_spans_it():
    tables = made("dae_mmd", HOLDS, NONE)
    effects = CLAIMS["dae_mmd"].effects(tables)
    matched = effects[effects["beside"] == "a β-VAE of equal clean error"]
    assert set(matched["unit"]) == set(UNITS.values()) and set(matched["ε"]) == {"mean over ε"}
    of = matched.groupby("dataset")["value"].mean()
    assert of["mnist"] == pytest.approx(0.3) and of["celeba"] == pytest.approx(0, abs=1e-9)
    frontier = tables["04_dae_comparison-frontier"]
    frontier.loc[frontier["family"] == "dae_mmd", "squared_error"] = 1.0  # below every β-VAE's
    effects = CLAIMS["dae_mmd"].effects(tables)
    assert set(effects["beside"]) == {"the VAE"}


def test_values_that_all_seeds_share_are_no_certainty():
    assert decision(0.3, 0.3, (0.3, 0.3), 0.1) == UNDECIDED
    table = damages({"mnist": 0.3, "celeba": 0.3})["02_untargeted_attack"]
    for point in ("mean", "half", "end"):
        table[point] = np.where(table["kind"] == "attack", 0.9, 0.1)
    judged = judge(CLAIMS["vulnerable"], {"02_untargeted_attack": table}, decides=True)
    assert set(judged["found"]) == {UNDECIDED}


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_rule_errs_as_often_as_it_says(seeds):
    """Simulated seeds of a known effect: coverage, false verdicts, and power."""
    rng, least, runs = np.random.default_rng(0), 0.1, 4000

    def shares(effect, deviation):
        found = []
        for values in rng.normal(effect, deviation, (runs, seeds)):
            low, high = interval(values)[1:]
            found.append(decision(low, high, interval(values, level=0.9)[1:], least))
        return {f: found.count(f) / runs for f in (HOLDS, CONTRADICTED, NONE, UNDECIDED)}

    covered = [a <= 0.3 <= b for _, a, b in map(interval, rng.normal(0.3, 0.1, (runs, seeds)))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
    at_least = shares(least, 0.05)  # the largest effect that is none of interest
    assert at_least[HOLDS] == pytest.approx(0.025, abs=0.01)
    assert at_least[NONE] < 0.06 and at_least[CONTRADICTED] < 0.001
    none = shares(0.0, 0.02)
    assert none[HOLDS] + none[CONTRADICTED] < 0.005 and none[NONE] > 0.9
    large = shares(0.5, 0.05)
    assert large[HOLDS] > 0.9 and large[CONTRADICTED] + large[NONE] == 0


def test_bounded_effects_have_bounded_intervals():
    mean, low, high = bounded_interval([0.9, 0.99, 1.0], -1, 1)
    assert -1 < low < mean < high < 1
    assert bounded_interval([0.1, 0.2, 0.3], -1, 1) == interval([0.1, 0.2, 0.3])


def test_what_would_change_is_what_would_change():
    judged = judge(CLAIMS["vulnerable"], made("vulnerable", HOLDS, NONE), decides=True)
    said = what_would_change(judged)
    assert (
        said
        == "with any smallest effect below 0.275 it holds on one data set at least, never on all"
    )
    nowhere = judge(
        CLAIMS["vulnerable"], made("vulnerable", CONTRADICTED, CONTRADICTED), decides=True
    )
    assert "with no smallest effect" in what_would_change(nowhere)


def test_holm_is_stricter_than_each_claim_alone():
    rows = [("a", 0.001), ("b", 0.010), ("c", 0.020), ("d", 0.6)]
    judged = pd.DataFrame(rows, columns=["claim", "p"]).assign(reading="primary")
    assert survives(judged) == {"a": True, "b": False, "c": False, "d": False}
    judged.loc[0, "p"] = np.nan
    assert not any(survives(judged).values())


def test_a_missing_table_is_named():
    with pytest.raises(ValueError, match="tables must hold 03_targeted_attack for steered"):
        judge(CLAIMS["steered"], {}, decides=True)


@pytest.mark.parametrize(("profile", "found"), [("paper", HOLDS), ("quick", UNDECIDED)])
def test_the_ledger_reads_what_the_chapters_saved(tmp_path, profile, found):
    for file, table in made("steered", HOLDS, HOLDS).items():
        table.to_csv(tmp_path / f"{file}.csv", index=False)
    (tmp_path / "03_targeted_attack.json").write_text(
        json.dumps({"parameters": {"profile": profile}})
    )
    judged = ledger(tmp_path)
    assert set(judged["claim"]) == {"steered"} and verdict(judged) == found
    assert ledger(tmp_path / "nothing").empty


def test_verdicts_are_counted_and_all_are_known():
    judged = pd.concat(
        judge(CLAIMS[name], made(name, HOLDS, NONE), decides=True)
        for name in ("vulnerable", "defended", "apart")
    )
    assert tally(judged) == f"3 {MIXED}"
    assert {HOLDS, MIXED, NONE, CONTRADICTED, UNDECIDED} <= set(VERDICTS)


def test_every_claim_names_a_chapter_and_tables_of_it():
    for claim in claims.CLAIMS.values():
        assert claim.tables and all(name.startswith(claim.chapter) for name in claim.tables)
        assert claim.least > 0 and claim.reason


def test_a_model_that_ignores_its_code_is_left_out():
    table = made("defended", CONTRADICTED, CONTRADICTED)["06_adversarial_training"]
    collapsed = table[table["family"] == "vae_adv"].assign(active=0, adv_form="maxmin")
    for score in AREAS:
        collapsed[score] = 0.99 + 0.001 * collapsed["seed"]
    kept = table[table["adv_form"] != "maxmin"]
    both = {"06_adversarial_training": pd.concat([kept, collapsed], ignore_index=True)}
    judged = judge(CLAIMS["defended"], both, decides=True)
    assert verdict(judged) == verdict(judged, "control") == CONTRADICTED
    left_out = judged["choices"].str.contains("max–min.*not collapsed")
    everything = judged["choices"].str.contains("max–min.*models: all")
    assert not left_out.any() and set(judged.loc[everything, "found"]) == {HOLDS}


def test_a_form_that_collapsed_for_one_seed_is_left_out_for_all():
    table = made("defended", HOLDS, HOLDS)["06_adversarial_training"]
    half = table["dataset"].map({"mnist": 0.5, "celeba": 1.0})
    broken = (table["adv_form"] == "trades") & (table["adv_eps"] == half) & (table["seed"] == 1)
    table.loc[broken, "active"] = 0
    judged = judge(CLAIMS["defended"], {"06_adversarial_training": table}, decides=True)
    assert (judged["reading"] == "primary").sum() == 0
    assert verdict(judged) == UNDECIDED
