"""What a chapter shows beside its figures: summaries, findings, checks, and their origin.

Everything is Markdown or HTML displayed from a code cell, so that it also works on Colab.
"""

import html
import inspect
import json
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from lrnb import metrics, plotting
from lrnb.data import DATASETS
from lrnb.metrics.statistics import interval
from lrnb.models import get_profile
from lrnb.publish import tables as saved
from lrnb.publish.display import bounded, by_dataset, glue, glue_html, in_order, show_markdown

__all__ = [
    "announce", "by_dataset", "checks", "explain_lpips", "finish", "glue", "glue_html", "report",
    "show_benchmark", "show_markdown", "show_source", "summary",
]  # fmt: skip


def show_source(function: Callable[..., Any]) -> None:
    """Display the source of a function of the package, as it is tested, without its docstring."""
    source = re.sub(r'\n\s+""".*?"""', "", inspect.getsource(function), count=1, flags=re.DOTALL)
    show_markdown(f"```python\n{source.rstrip()}\n```")


def announce(profile: str, datasets: Sequence[str], seeds: Sequence[int]) -> None:
    """Set the style of figures; display what this page is computed with, glued as ``run_size``."""
    plotting.use_style()
    size, named = get_profile(profile), ", ".join(DATASETS[d].label for d in datasets)
    about = f"Computed with profile `{profile}`: {size.n_train or 'all'} training images and "
    more = f" (at least {size.min_steps} steps)" if size.min_steps else ""
    about += (
        f"{size.epochs} epochs{more} for each model, {size.n_attack} attacked test codes of each "
    )
    about += "seed's own, "
    about += f"{size.eps_count} values of ε, {size.steps} steps from {size.restarts} starts; "
    about += f"on {named}; seeds {', '.join(map(str, seeds))}"
    glue("run_size", about.removeprefix("Computed with "))
    if not size.decides:
        about += ". **A small run, made to be quick: it decides nothing**"
    show_markdown(f"{about}.")


def summary(
    table: pd.DataFrame, *, rows: Sequence[str], values: Mapping[str, str], digits: int = 3
) -> pd.DataFrame:
    """A table for reading: each value's mean over seeds with its 95% interval, as text.

    Args:
        table: tidy, one row for each of ``rows`` and each seed.
        rows: columns that name a row of the result.
        values: numeric columns and their headings; a dash stands for one that is NaN throughout.
        digits: after the point; integers that agree over seeds have none.
    """

    def text(column: pd.Series) -> str:
        if column.isna().all():
            return "–"
        mean, low, high = interval(column.dropna())
        whole = column.nunique() == 1 and mean == round(mean)
        return f"{mean:.0f}" if whole else bounded(mean, low, high, digits)

    shown = in_order(table).groupby(list(rows), sort=False)[list(values)].agg(text)
    return shown.set_axis(list(values.values()), axis=1).rename(index=plotting.LABELS)


class _OverSeeds(string.Formatter):
    """Formats a column as its mean over seeds with its 95% interval.

    >>> _OverSeeds().format("{0:.1f}, {1:.2f}", pd.Series([0.4, 0.6]), pd.Series([0.5]))
    '0.5 (95% interval -0.8 to 1.8), 0.50'
    """

    def format_field(self, value: pd.Series, format_spec: str) -> str:
        values = value.dropna()
        if values.empty:
            return "undefined"
        if not pd.api.types.is_numeric_dtype(values):
            return ", ".join(map(str, values.unique()))
        mean, low, high = (format(number, format_spec) for number in interval(values))
        one = low == "nan" or values.nunique() == 1
        return mean if one else f"{mean} (95% interval {low} to {high})"


def report(template: str, table: pd.DataFrame, *, name: str) -> None:
    """Display a paragraph for each data set, with numbers in place of ``{column:format}``.

    A number is the column's mean over seeds with its 95% interval. For the alternative texts of
    figures, the first data set's means are glued as ``NAME_COLUMN``, its label as ``NAME_dataset``.
    """
    for i, (dataset, part) in enumerate(table.groupby("dataset", sort=False)):
        label = DATASETS[str(dataset)].label
        show_markdown(f"**{label}.** {_OverSeeds().format(template, **part)}")
        if i == 0:
            glue(f"{name}_dataset", label)
            for column in part.select_dtypes("number"):
                glue(f"{name}_{column}", part[column].mean())


def checks(facts: Mapping[str, object]) -> None:
    """Print facts that hold at any scale, one a line; nbval compares the lines with those stored.

    >>> checks({"losses never fall with ε": True})
    losses never fall with ε: True
    """
    for name, fact in facts.items():
        print(f"{name}: {bool(fact)}")


def finish(chapter: str, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any]) -> None:
    """`lrnb.publish.tables.save` a chapter's tables; display links to them and their origin."""
    main = saved.save(chapter, tables, parameters)
    origin = json.loads(main.with_suffix(".json").read_text())
    about, made = origin["parameters"], _escaped(origin["environment"])
    stems = [f"{chapter}-{name}" if name else chapter for name in tables]
    links = [_links(f"../results/{about['profile']}/{stem}", stem) for stem in stems]
    seeds = ", ".join(map(str, about["seeds"]))
    code = f"lrnb {made['lrnb']}, commit {made['commit']}, torch {made['torch']}"
    show_markdown(
        f"| | |\n|:--|:--|\n| Data behind the figures | {'; '.join(links)} |\n"
        f"| Profile | {about['profile']} |\n"
        f"| Data sets, seeds | {', '.join(about['datasets'])}; seeds {seeds} |\n"
        f"| Time | {origin['seconds']:.0f} s; models and tables in the store are not made again |\n"
        f"| Machine | {made['device']} |\n| Code | {code}, {made['time']} |"
    )


def explain_lpips() -> None:
    """Display what the LPIPS columns of a page are, or why they are empty."""
    show_markdown(
        "LPIPS uses the SqueezeNet backbone, trained on photographs: on digits, shapes and clothes "
        "it is indicative only."
        if metrics.lpips_is_present()
        else "LPIPS was not computed: its weights are not on this machine. `lrnb fetch lpips` "
        "downloads them."
    )


def show_benchmark(name: str, headings: Mapping[str, str]) -> None:
    """Display columns of a table of ``results/bench/`` under headings, and its machine."""
    file = saved.benchmarks() / f"{name}.csv"
    if not file.is_file():
        show_markdown(f"There is no table `{name}` in `results/bench/`.")
        return
    made = _escaped(json.loads(file.with_suffix(".json").read_text()))
    rows = pd.read_csv(file)[list(headings)].map(_cell).values.tolist()
    lines = [
        f"| {' | '.join(line)} |" for line in (headings.values(), [":--"] * len(headings), *rows)
    ]
    speed, base = "", f"../results/bench/{name}"
    if "matmul_gflops" in made:
        speed = f" with {made['threads']} threads, which multiplies matrices at "
        speed += f"{made['matmul_gflops']:.0f} GFLOP/s in float32"
    show_markdown(
        "\n".join(lines)
        + f"\n\nMeasured on {made['device']}{speed}; torch {made['torch']}, commit "
        f"{made['commit']}, {made['time'][:10]}. {_links(base, name)}."
    )


def _escaped(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: html.escape(x) if isinstance(x, str) else x for name, x in facts.items()}


def _links(base: str, stem: str) -> str:
    return f"[{stem}.csv]({base}.csv), made by [{stem}.json]({base}.json)"


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return html.escape(str(value).replace("_", " "))
    return "–" if math.isnan(value) else f"{value:.4g}"
