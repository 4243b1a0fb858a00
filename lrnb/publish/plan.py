"""What chapters rest on: which artefacts, which of them the store lacks, and what they will cost."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lrnb import _engine, _work, data
from lrnb._validation import check_integer
from lrnb.models import Profile, get_profile
from lrnb.publish.contents import chapters
from lrnb.studies import tables

Works = Mapping[str, Sequence[_work.Work]]


def works(
    notebooks: Sequence[Path], profile: Profile, datasets: Sequence[str], seeds: Sequence[int]
) -> Works:
    """By the name of each chapter, the works that it rests on; none for one that reads the others.

    Raises UnknownName, MissingData or ValueError now rather than after the first models are trained.
    """
    for name in datasets:
        data.fingerprint(name)
    for seed in seeds:
        check_integer("seeds", seed, 0)
    of_chapters = tables.chapters()
    return {
        notebook.stem: of_chapters[notebook.stem](datasets, seeds, profile)
        if notebook.stem in of_chapters
        else []
        for notebook in notebooks
    }


def table(of_chapters: Works, results: Path) -> pd.DataFrame:
    """The artefacts of each chapter, each counted for the first chapter that rests on it.

    Columns: chapter, kind ("model" or "table"), what (the model's family, or the table's name),
    dataset, artefacts, missing (of them in the store), seconds (that one process needs for those
    missing, by the costs seen in the store and under ``results``; NaN if none was seen).
    """
    seconds, seen, rows = _work.rates(results), set(), []
    every = [work for found in of_chapters.values() for work in found]
    lacking = {work.key for level in _work.missing(every) for work in level}
    for chapter, found in of_chapters.items():
        todo = [*found]
        while todo:
            work = todo.pop(0)
            todo += work.needs
            if work.key not in seen:
                seen.add(work.key)
                about = {name: work.about[name] for name in ("kind", "what", "dataset")}
                lacks = work.key in lacking
                cost = {"missing": int(lacks), "seconds": seconds(work) if lacks else 0.0}
                rows.append({"chapter": chapter} | about | {"artefacts": 1} | cost)
    by = ["chapter", "kind", "what", "dataset"]
    columns = pd.DataFrame(rows, columns=[*by, "artefacts", "missing", "seconds"])
    summed = columns.groupby(by, sort=False).agg(_total).reset_index()
    return summed.astype({"artefacts": int, "missing": int})


def _total(column: pd.Series) -> float:
    """The sum, NaN where a part is."""
    return float(column.sum(skipna=False))


def report(
    root: Path,
    profile: str,
    datasets: Sequence[str],
    seeds: Sequence[int],
    chosen: Sequence[str],
    engine: str | None,
) -> str:
    """What `lrnb plan` prints; the arguments are those of `lrnb.publish.run.run`."""
    size, notebooks = get_profile(profile), chapters(root, chosen)
    needed = works(notebooks, size, datasets or size.datasets, seeds or size.seeds)
    found = table(needed, root / "results")
    with _engine.connected(engine or os.environ.get("LRNB_ENGINE") or "local") as workers:
        lines = found.round({"seconds": 0}).to_string(index=False)
        return f"{lines}\n{in_words(found, workers)}"


def in_words(found: pd.DataFrame, engine: _engine.Engine) -> str:
    """How much is missing of a `table`, and how long it takes, as one sentence."""
    missing, known = int(found["missing"].sum()), found["seconds"].dropna()
    text = f"{missing} of {int(found['artefacts'].sum())} artefacts are missing"
    if not missing:
        return f"{text}: the chapters can be executed from the store"
    text += f"; {engine.name} would make them"
    if len(known) < len(found):
        unseen = found[found["seconds"].isna()]["what"].unique()
        text += f"; no cost has been seen of {', '.join(unseen)}, nor is it counted"
    one = known.sum()
    return f"{text}; about {_duration(one)} of one process, {_duration(one / engine.slots)} of all"


def _duration(seconds: float) -> str:
    """A time in words.

    >>> _duration(5400), _duration(42)
    ('1 h 30 min', '42 s')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
