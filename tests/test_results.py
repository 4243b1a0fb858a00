"""What results cost, as the book tells it."""

import json
import math

import pandas as pd
import torch

from lrnb import results, store
from lrnb.experiments import Recipe, get_profile, spec_of
from lrnb.robustness import table_spec


def test_costs_tell_what_a_chapter_used(tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_RESULTS", str(tmp_path))
    monkeypatch.setattr(store, "_used", {})
    profile = get_profile("smoke")
    for seed in (0, 1, 1):
        recipe = Recipe("digits", seed=seed)
        store.get("models", spec_of(recipe, profile), lambda: ({"w": torch.ones(1)}, {}))
        store.get("tables", table_spec("clean", recipe, profile), lambda: ({}, {"rows": []}))
    spent = [cost.seconds for spec, cost in store.used().values() if "table" not in spec]
    file = results.save("01_a", pd.DataFrame({"x": [1]}), {"profile": "smoke"})
    results.save("01_a-more", pd.DataFrame({"x": [1]}), {"profile": "smoke"})

    told = results.costs(tmp_path)
    assert sorted(told["what"]) == ["clean"] * 2 + ["vae"] * 2 and set(told["dataset"]) == {
        "digits"
    }
    assert told["key"].is_unique and len(told) == 4  # what was used twice counts once
    assert abs(told.loc[told["what"] == "vae", "seconds"].sum() - sum(spent)) < 0.02
    assert json.loads(file.with_suffix(".json").read_text())["costs"]


def test_costs_of_an_empty_folder_have_their_columns(tmp_path):
    told = results.costs(tmp_path)
    assert told.empty and {"chapter", "key", "peak_mb"} <= set(told)


def test_data_sets_come_in_order_and_one_where_nothing_is_defined_says_so():
    rows = pd.DataFrame({"dataset": ["celeba", "mnist"], "mean": [0.5, math.nan], "seeds": 3})
    shown = results.by_dataset(rows.assign(low=math.nan, high=math.nan), "mean")
    assert shown == "MNIST undefined; CelebA 0.50"
