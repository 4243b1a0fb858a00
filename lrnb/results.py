"""Result tables and glued numbers: from a notebook to files, links and the book's other pages."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lrnb import metrics, provenance, store
from lrnb.experiments import get_profile
from lrnb.intervals import interval
from lrnb.names import DATASET_NAMES

_START = time.time()


def folder(profile: str) -> Path:
    """Where the tables of a profile go: ``LRNB_RESULTS``, or ``_build/<profile>/results/<profile>``.

    The latter lies in the project if the working directory is inside it, else right here.
    """
    given = os.environ.get("LRNB_RESULTS")
    if given:
        return Path(given)
    return _root() / "_build" / profile / "results" / profile


def save(chapter: str, table: pd.DataFrame, parameters: Mapping[str, Any]) -> Path:
    """Write a chapter's tidy table as CSV, and beside it a JSON of what produced it.

    Args:
        chapter: name of the notebook, such as "01_training".
        table: tidy, one observation a row.
        parameters: the notebook's, with "profile"; JSON values.

    Returns:
        Path of the CSV.
    """
    place = folder(str(parameters["profile"]))
    place.mkdir(parents=True, exist_ok=True)
    origin = {"chapter": chapter, "parameters": dict(parameters), "rows": len(table)}
    origin |= {"seconds": round(time.time() - _START, 1), "environment": provenance.environment()}
    if "-" not in chapter:  # its main table: the others rest on the same work
        origin |= {"costs": _costs()}
    # the table last: where there is one, what produced it is there as well
    _replace(place / f"{chapter}.json", json.dumps(origin, indent=1) + "\n")
    _replace(place / f"{chapter}.csv", table.to_csv(index=False, float_format="%.8g"))
    return place / f"{chapter}.csv"


def _costs() -> list[dict[str, Any]]:
    """What each model and table cost that this notebook used."""
    rows = []
    for key, (spec, cost) in store.used().items():
        table = spec.get("table")
        recipe = (spec["model"] if table else spec)["recipe"]
        about = {"key": key, "kind": "table" if table else "model"}
        about |= {"what": table or recipe["family"], "dataset": recipe["dataset"]}
        rows.append(about | {name: _rounded(value) for name, value in asdict(cost).items()})
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def summary(
    table: pd.DataFrame, *, rows: Sequence[str], values: Mapping[str, str], digits: int = 3
) -> pd.DataFrame:
    """A table for reading: each value's mean over seeds with its 95% interval, as text.

    Args:
        table: tidy, one row for each of ``rows`` and each seed.
        rows: columns that name a row of the result.
        values: numeric columns and their headings; where one is NaN throughout there is a dash,
            and where all seeds agree there is no interval.
        digits: after the point; whole numbers that agree have none.
    """

    def text(column: pd.Series) -> str:
        if column.isna().all():
            return "–"
        mean, low, high = interval(column.dropna())
        if column.nunique() == 1 and mean == round(mean):
            return f"{mean:.0f}"
        bounds = f" [{low:.{digits}f}, {high:.{digits}f}]" if low < high else ""
        return f"{mean:.{digits}f}{bounds}"

    shown = table.groupby(list(rows), sort=False)[list(values)].agg(text)
    shown.columns = pd.Index(values.values())
    return shown


def phrase(values: Iterable[float], digits: int = 3) -> str:
    """Mean and 95% interval over seeds for a sentence; undefined (NaN) values are left out.

    >>> phrase([0.5]), phrase([0.4, 0.4])
    ('0.500 (one seed, no interval)', '0.400 (95% interval 0.400 to 0.400)')
    """
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return "an undefined number"
    mean, low, high = interval(defined)
    if math.isnan(low):
        return f"{mean:.{digits}f} (one seed, no interval)"
    return f"{mean:.{digits}f} (95% interval {low:.{digits}f} to {high:.{digits}f})"


def by_dataset(rows: pd.DataFrame, value: str, digits: int = 2) -> str:
    """A value of each data set with its interval, for a sentence or a cell of a table, in order.

    Args:
        rows: dataset, low, high (NaN where there is no interval) and the column ``value``; a row
            for each data set.
        value: the column.
        digits: after the point.

    >>> by_dataset(pd.DataFrame({"dataset": ["mnist"], "gain": 1, "low": 0.5, "high": 1.5}), "gain")
    'MNIST 1.00 [0.50, 1.50]'
    """
    rows = rows.sort_values("dataset", key=lambda d: d.map(list(DATASET_NAMES).index))
    columns = (rows[name] for name in ("dataset", value, "low", "high"))
    return "; ".join(
        f"{DATASET_NAMES[dataset]} "
        + ("undefined" if math.isnan(mean) else f"{mean:.{digits}f}")
        + f" [{low:.{digits}f}, {high:.{digits}f}]" * (low < high)
        for dataset, mean, low, high in zip(*columns, strict=True)
    )


def announce(profile: str, datasets: Sequence[str], seeds: Sequence[int]) -> None:
    """Display what this page is computed with, and a warning where that is too small to decide."""
    about = f"profile `{profile}` on {', '.join(datasets)}; seeds {', '.join(map(str, seeds))}; "
    about += f"on {provenance.device_name()}"
    if not torch.cuda.is_available():
        about += ", without a GPU (`quick` takes minutes so, `standard` hours)"
    warning = (
        " **A small run, made to be quick: it decides nothing.**"
        if not get_profile(profile).decides
        else ""
    )
    show_markdown(f"Computed with {about}.{warning}")


def explain_lpips() -> None:
    """Display what the LPIPS columns of a page are, or why they are empty."""
    if metrics.lpips_is_present():
        show_markdown(
            "LPIPS with the SqueezeNet backbone, trained on photographs: on digits, shapes and "
            "clothes it is indicative only."
        )
    else:
        show_markdown(
            "LPIPS was not computed: its weights are not on this machine. "
            "`lrnb fetch lpips` gets them."
        )


def colophon(table: Path) -> None:
    """Display where a chapter's saved tables are, and the time, machine and code behind its page.

    Args:
        table: the chapter's main one; others have its name and more.
    """
    origin = json.loads(table.with_suffix(".json").read_text())
    about, made = origin["parameters"], origin["environment"]
    base = f"../results/{about['profile']}"
    tables = [table, *sorted(table.parent.glob(f"{table.stem}-*.csv"))]
    links = [
        f"[{t.name}]({base}/{t.stem}.csv), made by [{t.stem}.json]({base}/{t.stem}.json)"
        for t in tables
    ]
    lines = [
        "| | |",
        "|:--|:--|",
        f"| Data behind the figures | {'; '.join(links)} |",
        f"| Profile | {about['profile']} |",
        f"| Data sets, seeds | {', '.join(about['datasets'])}; seeds {', '.join(map(str, about['seeds']))} |",
        f"| Time | {origin['seconds']:.0f} s; models and attacks that were in the store took none |",
        f"| Machine | {made['device']} |",
        f"| Code | lrnb {made['lrnb']}, commit {made['commit']}, torch {made['torch']}, {made['time']} |",
    ]
    show_markdown("\n".join(lines))


def costs(place: Path) -> pd.DataFrame:
    """What each saved chapter rests on and what that cost, from the JSON files in a folder.

    Columns: chapter, seconds_run (of its last execution), key (of the model or table in the store;
    chapters share many), kind ("model" or "table", of one model), what (the model's family, or the
    table's name), dataset, seconds, peak_mb (the most that the process held, NaN where the system
    does not tell). Tables of benchmarks are absent.
    """
    rows = []
    for file in sorted(place.glob("*.json")):
        origin = json.loads(file.read_text())
        if file.stem == origin.get("chapter"):
            about = {"chapter": file.stem, "seconds_run": origin["seconds"]}
            rows += [about | cost for cost in origin.get("costs", [])]
    columns = ["chapter", "seconds_run", "key", "kind", "what", "dataset", "seconds", "peak_mb"]
    return pd.DataFrame(rows, columns=columns)


def show_benchmark(name: str, headings: Mapping[str, str]) -> None:
    """Display a table that lies in ``results/bench/``, and the machine behind it.

    Args:
        name: of the table.
        headings: its columns and what stands above them.
    """
    staged = os.environ.get("LRNB_RESULTS")
    place = (Path(staged).parent if staged else _root() / "results") / "bench"
    if not (place / f"{name}.csv").is_file():
        show_markdown(f"No table `{name}` lies in `results/bench/` here.")
        return
    table = pd.read_csv(place / f"{name}.csv")[list(headings)]
    made = json.loads((place / f"{name}.json").read_text())
    lines = ["| " + " | ".join(headings.values()) + " |", "|:--" * len(headings) + "|"]
    for row in table.itertuples(index=False):
        lines.append("| " + " | ".join(_cell(value) for value in row) + " |")
    base = f"../results/bench/{name}"
    machine = made["device"]
    if "matmul_gflops" in made:
        machine += f" with {made['threads']} threads, which multiplies matrices at "
        machine += f"{made['matmul_gflops']:.0f} GFLOP/s in float32"
    lines += [
        "",
        f"Measured on {machine}; torch {made['torch']}, commit {made['commit']}, "
        f"{made['time'][:10]}. [{name}.csv]({base}.csv), made by [{name}.json]({base}.json).",
    ]
    show_markdown("\n".join(lines))


def _root() -> Path:
    """The project that the working directory is inside of, else the working directory."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "_toc.yml").is_file()), here)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value).replace("_", " ")
    return "–" if math.isnan(value) else f"{value:.4g}"


def show_markdown(text: str) -> None:
    """Display Markdown from a code cell; where there is no notebook, print it."""
    display = _display()
    if display is None:
        print(text)
    else:
        display({"text/markdown": text, "text/plain": text}, raw=True)


def glue(name: str, value: float | int | str) -> None:
    """Keep a value in the notebook under a name, for pasting into the book's other pages.

    The form is that of MyST-NB's ``glue``, which is not on Colab, written without it. Nothing is
    shown on the page.

    Raises:
        ValueError: the value is not a number or a string.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"value is {type(value).__name__}; a number or a string is accepted")
    if isinstance(value, float):
        value = float(value)  # NumPy's floats are Python's too, but their repr names NumPy
    _glue(name, "text/plain", repr(value))


def glue_html(name: str, page: str) -> None:
    """Keep HTML in the notebook under a name, for the book's other pages (`glue`)."""
    _glue(name, "text/html", page)


def _glue(name: str, kind: str, content: str) -> None:
    display, prefix = _display(), "application/papermill.record/"
    if display is not None:
        about = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        display({prefix + kind: content}, metadata=about, raw=True)


def _display() -> Any:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    return display if get_ipython() is not None else None


def _replace(file: Path, text: str) -> None:
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, file)
