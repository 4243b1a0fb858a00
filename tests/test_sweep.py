"""The sweep over β: total correlations in closed form, the table's columns, the correlations."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lrnb import disentanglement, robustness, sweep
from lrnb.data import ImageSet, load_data
from lrnb.experiments import PROFILES, Recipe
from lrnb.figures import rank_correlations, sweep_curves, tradeoff_paths
from lrnb.models import Posterior

TINY = replace(
    PROFILES["smoke"], name="tiny", epochs=1, n_attack=6, eps_count=2, steps=3, restarts=2
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_sweep_holds_every_beta_of_both_families_once():
    recipes = sweep.sweep_recipes(["digits", "shapes"], (s for s in (0, 1)))
    assert len(recipes) == len(set(recipes)) == 2 * 2 * 2 * len(sweep.BETAS)
    assert {(r.family, r.beta) for r in recipes if r.dataset == "shapes" and r.seed == 1} == {
        (family, beta) for family in ("tcvae", "vae") for beta in sweep.BETAS
    }


class TestTotalCorrelation:
    def aggregate(self, covariance, variance, n, generator):
        """Posteriors of one variance, whose means are drawn from a Gaussian; samples of each."""
        factor = torch.linalg.cholesky(torch.tensor(covariance))
        mean = torch.randn(n, len(covariance), generator=generator) @ factor.T
        posterior = Posterior(mean, torch.full_like(mean, math.log(variance)))
        return posterior.sample(generator), posterior

    def gaussian(self, covariance, variance):
        total = np.array(covariance) + variance * np.eye(len(covariance))
        return 0.5 * (np.log(np.diag(total)).sum() - np.linalg.slogdet(total)[1])

    @pytest.mark.parametrize("correlation", [0.5, 0.9, -0.9])
    def test_of_a_gaussian(self, correlation, generator):
        covariance = [[1.0, correlation, 0.0], [correlation, 1.0, 0.0], [0.0, 0.0, 1.0]]
        known = self.gaussian(covariance, 0.3)
        codes, posterior = self.aggregate(covariance, 0.3, 3000, generator)
        assert sweep.total_correlation(codes, posterior) == pytest.approx(known, abs=0.04)
        assert sweep.gaussian_total_correlation(posterior) == pytest.approx(known, abs=0.04)

    def test_of_independent_dimensions(self, generator):
        codes, posterior = self.aggregate(np.eye(3).tolist(), 0.5, 3000, generator)
        assert sweep.total_correlation(codes, posterior) == pytest.approx(0, abs=0.02)
        assert sweep.gaussian_total_correlation(posterior) == pytest.approx(0, abs=0.01)

    def test_of_peaks_far_apart(self):
        # each coordinate names the peak, so knowing one spares log N nats on each of the others
        n, d = 7, 4
        mean = 100 * torch.arange(n).float()[:, None].repeat(1, d)
        posterior = Posterior(mean, torch.zeros(n, d))
        found = sweep.total_correlation(
            posterior.sample(torch.Generator().manual_seed(1)), posterior
        )
        assert found == pytest.approx((d - 1) * math.log(n), abs=1e-3)

    def test_sees_dependence_without_correlation(self, generator):
        angle = 2 * math.pi * torch.rand(2000, generator=generator)
        ring = Posterior(torch.stack([angle.cos(), angle.sin()], 1), torch.full((2000, 2), -4.0))
        assert sweep.total_correlation(ring.sample(generator), ring) > 0.5
        assert sweep.gaussian_total_correlation(ring) < 0.02

    def test_equals_scipys_densities(self, generator):
        mean, logvar = torch.randn(2, 20, 3, generator=generator).double()
        posterior = Posterior(mean, logvar)
        codes = torch.randn(5, 3, generator=generator).double()
        ratios = []
        for z in codes.numpy():
            each = [
                stats.norm.pdf(z, m, np.exp(v / 2))
                for m, v in zip(mean.numpy(), logvar.numpy(), strict=True)
            ]
            joint = np.mean([p.prod() for p in each])
            ratios.append(math.log(joint) - np.log(np.mean(each, axis=0)).sum())
        assert sweep.total_correlation(codes, posterior) == pytest.approx(np.mean(ratios), rel=1e-9)

    def test_is_a_mean_over_codes_however_they_are_cut(self, generator, monkeypatch):
        codes, posterior = self.aggregate([[1.0, 0.8], [0.8, 1.0]], 0.2, 50, generator)
        whole = sweep.total_correlation(codes, posterior)
        single = [sweep.total_correlation(code[None], posterior) for code in codes]
        assert whole == pytest.approx(np.mean(single), rel=1e-4)
        monkeypatch.setattr(sweep, "_FLOATS", 50 * 2 * 7)  # 7 does not divide 50
        assert sweep.total_correlation(codes, posterior) == pytest.approx(whole, rel=1e-5)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="posterior has no variance"):
            sweep.total_correlation(torch.zeros(4, 2), Posterior(torch.zeros(4, 2)))
        with pytest.raises(ValueError, match=r"codes has shape \(4, 3\); \('S', 2\) is accepted"):
            sweep.total_correlation(torch.zeros(4, 3), Posterior(*torch.zeros(2, 4, 2)))


class TestFactors:
    def test_of_shapes_are_its_true_ones(self):
        images = load_data("shapes", "test", 300)
        factors = sweep.factors_of(images)
        assert factors.shape == (300, 5)
        for found, true in zip(factors.T, images.factors.T, strict=True):
            assert stats.spearmanr(found, true).statistic == pytest.approx(1)
        # what has an order is scored as a number, what has none as classes
        classes = [bool((column == column.round()).all()) for column in factors.T]
        assert dict(zip(images.factor_names, classes, strict=True)) == {
            "shape": True, "size": False, "angle": True, "x": False, "y": False,
        }  # fmt: skip
        # the bins of continuous factors do not merge levels
        assert disentanglement.mig(factors, factors) == disentanglement.mig(
            images.factors, images.factors
        )

    def test_of_digits_are_the_labels(self):
        images = load_data("digits", "test", 20)
        assert sweep.factors_of(images).tolist() == images.labels[:, None].tolist()

    def test_of_celeba_are_its_common_attributes_the_balanced_first(self):
        ones = [4, 50, 97, 20, 95, 60]  # of a hundred
        attributes = torch.stack([(torch.arange(100) < n).float() for n in ones], 1)
        faces = ImageSet(
            "celeba", "test", torch.zeros(100, 3, 64, 64), torch.zeros(100), attributes, ("a",) * 6
        )
        assert sweep.factors_of(faces).sum(0).tolist() == [50, 60, 20, 95]


def test_scores_are_those_of_disentanglement_and_missing_where_undefined(generator):
    factors = torch.randint(3, (200, 2), generator=generator).float()
    codes = factors @ torch.randn(2, 4, generator=generator)
    found = sweep.disentanglement_scores(factors, codes)
    assert tuple(found) == sweep.SCORES
    assert found["mig"] == disentanglement.mig(factors, codes)
    assert found["sap"] == disentanglement.sap(factors, codes)
    assert found["completeness"] == disentanglement.dci(factors, codes).completeness
    assert found["factor_vae"] == disentanglement.factor_vae(factors, codes)
    assert found["modularity"] == disentanglement.modularity(factors, codes)
    labels_only = sweep.disentanglement_scores(factors[:, :1], codes)
    defined = {name for name, score in labels_only.items() if not math.isnan(score)}
    assert defined == {"mig", "sap"}


class TestTable:
    recipes = (Recipe("shapes", "tcvae", beta=4.0), Recipe("digits", "vae", beta=2.0))

    @pytest.fixture(scope="class")
    def home(self, tmp_path_factory):
        return str(tmp_path_factory.mktemp("home"))

    @pytest.fixture(autouse=True)
    def stored(self, home, own_store, monkeypatch):
        monkeypatch.setenv("LRNB_HOME", home)

    @pytest.fixture
    def table(self):
        return sweep.tradeoff_table(self.recipes, TINY)

    def test_one_row_a_recipe_with_the_values_of_the_other_tables(self, table):
        assert table["family"].tolist() == ["tcvae", "vae"] and table["beta"].tolist() == [4, 2]
        clean = robustness.clean_table(self.recipes, TINY)
        for name in ("spread", "active", "squared_error"):
            assert table[name].tolist() == clean[name].tolist()

    def test_robustness_is_that_of_the_untargeted_table(self, table):
        damages = robustness.untargeted_table(self.recipes, TINY).query("kind == 'attack'")
        scores = robustness.aaddc_table(damages).set_index(["dataset", "scale", "metric"])["aaddc"]
        for _, row in table.iterrows():
            for scale in ("raw", "spread"):
                known = scores[row["dataset"], scale, "ssim"]
                assert row[f"aaddc_{scale}"] == pytest.approx(known, rel=1e-5)
                curve = damages.query(
                    "dataset == @row.dataset and scale == @scale and metric == 'mse'"
                )
                known = curve.set_index("eps")["damage"][1.0]
                assert row[f"damage_{scale}"] == pytest.approx(known, rel=1e-5)

    def test_scores_belong_to_the_factors(self, table):
        shapes, digits = table.iloc[0], table.iloc[1]
        assert shapes[list(sweep.SCORES)].between(0, 1).all()
        defined = set(digits[list(sweep.SCORES)].dropna().index)
        assert defined == {"mig", "sap"}
        assert (table["total_correlation"] > -0.05).all()
        assert (table["gaussian_correlation"] >= 0).all()

    def test_is_stored(self, table, monkeypatch):
        def fail(*_):
            raise AssertionError("computed again")

        monkeypatch.setattr(sweep, "_tradeoff_rows", fail)
        pd.testing.assert_frame_equal(sweep.tradeoff_table(self.recipes, TINY), table)
        with pytest.raises(AssertionError, match="computed again"):
            sweep.tradeoff_table([replace(self.recipes[0], beta=8.0)], TINY)

    def test_dimensions_that_are_switched_off_tell_nothing(self, table, monkeypatch):
        # an encoder whose first dimension is the label, once clear and once too faint to be active
        labels = load_data("digits", "test", 4 * TINY.n_test).labels
        assert len(labels) == TINY.n_train

        def mig_with(gain):
            mean = torch.zeros(len(labels), 16)
            mean[:, 0] = gain * labels
            found = Posterior(mean, torch.zeros_like(mean))
            monkeypatch.setattr(sweep, "_posterior", lambda *_: found)
            return sweep._tradeoff_rows(self.recipes[1], TINY)[0]["mig"]

        assert mig_with(1.0) == pytest.approx(1)
        assert mig_with(0.01) == 0


@pytest.fixture(scope="module")
def made_up():
    """A sweep in which robustness falls with β at raw ε and knows nothing of it in spread units."""
    rng = np.random.default_rng(0)
    rows = []
    for recipe in sweep.sweep_recipes(["digits", "celeba"], [0, 1, 2]):
        noise = rng.normal(size=3)
        rows.append(
            robustness.identity_of(recipe)
            | {
                "aaddc_raw": 0.5 - 0.02 * recipe.beta,
                "aaddc_spread": 0.5 + 0.1 * noise[0],
                "squared_error": 10 * recipe.beta,
                "active": 8,
                "mig": 0.1 + 0.001 * abs(noise[1]),
                "total_correlation": 3 / recipe.beta,
                "gaussian_correlation": 1 / recipe.beta,
            }
        )
    return pd.DataFrame(rows)


def test_tradeoff_finds_the_correlations_that_were_built_in(made_up):
    found = sweep.tradeoff(made_up)
    assert len(found) == 2 * 2 * len(sweep.PAIRS)
    assert not found.duplicated(["dataset", "family", "x", "y"]).any()
    assert (found["models"] == len(sweep.BETAS)).all()
    of = found.query("dataset == 'celeba' and family == 'tcvae' and x == 'beta'").set_index("y")
    assert of.loc["aaddc_raw", ["rho", "low", "high"]].tolist() == pytest.approx([-1, -1, -1])
    assert of.loc["squared_error", "rho"] == pytest.approx(1)
    assert of.loc["aaddc_spread", "low"] < 0 < of.loc["aaddc_spread", "high"]
    assert math.isnan(of.loc["active", "rho"])  # it never changed
    part = made_up.query("dataset == 'celeba' and family == 'tcvae'")
    expected = [
        stats.spearmanr(seed["beta"], seed["aaddc_spread"]).statistic
        for _, seed in part.groupby("seed")
    ]
    assert of.loc["aaddc_spread", "rho"] == pytest.approx(sum(expected) / 3)


def test_figures_show_the_table(made_up):
    paths = tradeoff_paths(made_up)
    assert len(paths.axes) == 4
    told = [text.get_text() for text in paths.axes[0].texts]
    assert sorted(told, key=float) == [f"{b:g}" for b in sweep.BETAS for _ in sweep.SWEPT]
    curves = sweep_curves(made_up)
    assert len(curves.axes) == 8
    raw = curves.axes[0].lines[0]
    assert raw.get_xdata().tolist() == list(sweep.BETAS)
    assert raw.get_ydata().tolist() == pytest.approx([0.5 - 0.02 * b for b in sweep.BETAS])
    correlations = rank_correlations(sweep.tradeoff(made_up))
    assert len(correlations.axes) == 2
    assert len(correlations.axes[0].get_yticklabels()) == len(sweep.PAIRS)


def test_figures_of_a_single_seed_have_no_intervals(made_up):
    alone = made_up[made_up["seed"] == 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = tradeoff_paths(alone)
        sweep_curves(alone)
        rank_correlations(sweep.tradeoff(alone))
    assert paths.axes[0].dataLim.intervaly == pytest.approx([0.5 - 0.02 * 16, 0.5 - 0.02 * 0.5])
