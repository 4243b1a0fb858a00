"""Two runs compared: equal tables agree, other numbers are counted, other rows are refused."""

import math

import pandas as pd
import pytest

from lrnb.publish.tables import compare_runs, save


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Saves tables as two runs do: before, and again."""

    def keep(run, name, table):
        monkeypatch.setenv("LRNB_RESULTS", str(tmp_path / run))
        return save(name, {"": table}, {"profile": "smoke", "run": run}).parent

    return keep


def damages(datasets=("mnist", "celeba"), seeds=(0, 1, 2)):
    rows = [(d, s, e, 10.0 * s + e / 3) for e in (1.0, 2.0) for d in datasets for s in seeds]
    table = pd.DataFrame(rows, columns=["dataset", "seed", "eps", "damage"])
    return table.assign(family="vae", kl=math.nan, active=3)


def test_one_data_set_and_seed_is_compared_with_its_own_rows(kept):
    before = kept("before", "02_untargeted", damages())
    again = kept("again", "02_untargeted", damages(["celeba"], [2]))
    (row,) = compare_runs(again, before).to_dict("records")
    assert (row["table"], row["datasets"], row["seeds"]) == ("02_untargeted", "celeba", "2")
    assert (row["rows"], row["numbers"]) == (2, 2 * 2)  # damage and active, at two ε
    assert (row["identical"], row["largest_difference"]) == (1, 0)


def test_numbers_that_differ_are_counted_and_measured_by_their_column(kept):
    before = kept("before", "a", damages(["mnist"], [0]).assign(damage=[2.0, -8.0]))
    again = kept("again", "a", damages(["mnist"], [0]).assign(damage=[1.0, -8.0]))
    (row,) = compare_runs(again, before).to_dict("records")
    assert row["identical"] == 3 / 4 and row["largest_difference"] == pytest.approx(1 / 8)


def test_a_number_on_one_side_only_is_not_agreement(kept):
    before = kept("before", "a", damages())
    again = kept("again", "a", damages().assign(kl=1.0))
    assert compare_runs(again, before)["largest_difference"].item() == math.inf


def test_an_infinite_number_hides_no_difference(kept):
    first = damages(["mnist"], [0])
    before = kept("before", "a", first.assign(damage=[math.inf, -8.0]))
    again = kept("again", "a", first.assign(damage=[math.inf, -6.0]))
    assert compare_runs(again, before)["largest_difference"].item() == pytest.approx(2 / 8)
    again = kept("again", "a", first.assign(damage=[1.0, -8.0]))
    assert compare_runs(again, before)["largest_difference"].item() == math.inf


def test_what_the_earlier_run_does_not_have_is_left_out(kept):
    before = kept("before", "a", damages(["mnist"]))
    kept("before", "b", damages())
    again = kept("again", "a", damages())
    kept("again", "b", damages())
    assert compare_runs(again, before)["table"].tolist() == ["b"]


@pytest.mark.parametrize(
    "other",
    [damages().iloc[1:], damages().assign(family="ae"), damages().assign(eps=lambda t: 3 * t.eps)],
)
def test_other_rows_are_refused(kept, other):
    before, again = kept("before", "a", damages()), kept("again", "a", other)
    with pytest.raises(ValueError, match="a.csv must have the rows and columns"):
        compare_runs(again, before)


def test_copies_and_means_over_seeds_prove_nothing(kept):
    before = kept("before", "a", damages())
    with pytest.raises(ValueError, match="again must hold a table"):
        compare_runs(before, before)
    kept("before", "means", damages().drop(columns="seed"))
    again = kept("again", "means", damages().drop(columns="seed"))
    with pytest.raises(ValueError, match="again must hold a table"):
        compare_runs(again, before)
