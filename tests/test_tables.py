"""What results cost, as the book tells it."""

import json
import math

import pandas as pd
import torch

from lrnb import _store as store
from lrnb.publish import pages, tables


def test_costs_tell_what_a_chapter_used(tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_RESULTS", str(tmp_path))
    store.used()  # (what other tests used counts as well)
    for seed in (0, 1, 1):
        for kind, what in (("model", "toy family"), ("table", "toy table")):
            about = {"kind": kind, "what": what, "dataset": "digits"}
            spec = {"seed": seed, "what": what}
            store.get(f"{kind}s", spec, lambda: ({"w": torch.ones(1)}, {}), about)
    used = [use for use in store.used().values() if use.get("what") == "toy family"]
    frame = pd.DataFrame({"x": [1]})
    file = tables.save("01_a", {"": frame, "more": frame}, {"profile": "smoke"})

    told = tables.costs(tmp_path)
    told = told[told["what"].str.startswith("toy", na=False)]
    assert told["key"].is_unique and len(told) == 4  # what was used twice counts once
    spent = sum(use["seconds"] for use in used)
    assert abs(told.loc[told["kind"] == "model", "seconds"].sum() - spent) < 0.02
    assert json.loads(file.with_suffix(".json").read_text())["costs"]


def test_costs_of_an_empty_folder_have_their_columns(tmp_path):
    told = tables.costs(tmp_path)
    assert told.empty and {"chapter", "key", "peak_mb"} <= set(told)


def test_data_sets_come_in_order_and_one_where_nothing_is_defined_says_so():
    rows = pd.DataFrame({"dataset": ["celeba", "mnist"], "mean": [0.5, math.nan], "seeds": 3})
    shown = pages.by_dataset(rows.assign(low=math.nan, high=math.nan), "mean")
    assert shown == "MNIST undefined; CelebA 0.50"
