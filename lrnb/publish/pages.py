"""What a chapter shows beside its figures: summaries, findings, verdicts, checks, and their origin.

Everything is Markdown or HTML displayed from a code cell, so that it also works on Colab.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from lrnb import _provenance, metrics, plotting
from lrnb._validation import check_name
from lrnb.claims import CLAIMS, Claim, judge, sensitivity, tally, verdict
from lrnb.claims.definitions import Tables
from lrnb.claims.verdicts import NOT, PARTLY, READINGS, REPRODUCED, SMALL
from lrnb.data import DATASETS
from lrnb.metrics.statistics import interval
from lrnb.models import get_profile
from lrnb.publish import tables as saved
from lrnb.publish.display import glue, glue_html, show_markdown, show_source

__all__ = [
    "announce", "by_dataset", "checks", "explain_lpips", "finish", "glue", "glue_html", "report",
    "show_benchmark", "show_ledger", "show_markdown", "show_source", "show_verdicts", "summary",
]  # fmt: skip
BADGES = {REPRODUCED: "✓", PARTLY: "◐", NOT: "✗", SMALL: "○"}
_CONTROLLED = {
    REPRODUCED: "Under the control it holds",
    PARTLY: "Under the control it holds in part",
    NOT: "Under the control it does not hold",
    SMALL: "Under the control the run is too small to say",
}


def announce(profile: str, datasets: Sequence[str], seeds: Sequence[int]) -> None:
    """Set the style of figures, and display what this page is computed with."""
    plotting.use_style()
    named = ", ".join(DATASETS[d].label for d in datasets)
    about = f"Computed with profile `{profile}` on {named}; seeds {', '.join(map(str, seeds))}; "
    about += f"on {_provenance.device_name()}"
    if not torch.cuda.is_available():
        about += ", without a GPU (`quick` takes minutes, `standard` hours)"
    if not get_profile(profile).decides:
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
        if column.nunique() == 1 and mean == round(mean):
            return f"{mean:.0f}"
        bounds = f" [{low:.{digits}f}, {high:.{digits}f}]" if low < high else ""
        return f"{mean:.{digits}f}{bounds}"

    shown = table.groupby(list(rows), sort=False)[list(values)].agg(text)
    shown.columns = pd.Index(values.values())
    return shown.rename(index=plotting.LABELS)


class _Estimate:
    """The values of one column over seeds, formatted as mean with 95% interval.

    >>> f"{_Estimate(pd.Series([0.4, 0.6])):.1f}", f"{_Estimate(pd.Series([0.5])):.2f}"
    ('0.5 (95% interval -0.8 to 1.8)', '0.50')
    """

    def __init__(self, values: pd.Series) -> None:
        self.values = values.dropna()

    def __format__(self, spec: str) -> str:
        if self.values.empty:
            return "undefined"
        if not pd.api.types.is_numeric_dtype(self.values):
            return ", ".join(map(str, self.values.unique()))
        mean, low, high = interval(self.values)
        if math.isnan(low) or self.values.nunique() == 1:
            return format(mean, spec)
        return f"{mean:{spec}} (95% interval {low:{spec}} to {high:{spec}})"


def report(template: str, table: pd.DataFrame, *, name: str) -> None:
    """Display a paragraph for each data set, with numbers in place of ``{column:format}``.

    A number is the column's mean over seeds with its 95% interval. For the alternative texts of
    figures, the first data set's means are glued as ``<name>_<column>``, its label as
    ``<name>_dataset``.

    Args:
        template: a sentence with ``{column:format}``.
        table: dataset and the columns; a row a seed.
        name: prefix of the glued values.
    """
    for i, (dataset, part) in enumerate(table.groupby("dataset", sort=False)):
        text = template.format_map({str(column): _Estimate(part[column]) for column in part})
        label = DATASETS[str(dataset)].label
        show_markdown(f"**{label}.** {text}")
        if i == 0:
            glue(f"{name}_dataset", label)
            for column in part.select_dtypes("number"):
                glue(f"{name}_{column}", float(part[column].mean()))


def by_dataset(rows: pd.DataFrame, value: str, digits: int = 2) -> str:
    """A value of each data set with its interval, in the book's order, as one line of text.

    >>> by_dataset(pd.DataFrame({"dataset": ["mnist"], "gain": 1, "low": 0.5, "high": 1.5}), "gain")
    'MNIST 1.00 [0.50, 1.50]'
    """
    rows = rows.sort_values("dataset", key=lambda d: d.map(list(DATASETS).index))
    columns = (rows[name] for name in ("dataset", value, "low", "high"))
    return "; ".join(
        f"{DATASETS[dataset].label} "
        + ("undefined" if math.isnan(mean) else f"{mean:.{digits}f}")
        + f" [{low:.{digits}f}, {high:.{digits}f}]" * (low < high)
        for dataset, mean, low, high in zip(*columns, strict=True)
    )


def show_verdicts(names: Iterable[str], tables: Tables, profile: str) -> None:
    """Display the verdict on each claim, and glue its effects for alternative texts.

    Args:
        names: of claims.
        tables: the chapter's, by the names that the claims ask for.
    """
    for name in names:
        claim = CLAIMS[name]
        judged = judge(claim, tables, decides=get_profile(profile).decides)
        show_markdown(f"> {verdict_sentence(claim, judged)}")
        _glue_effects(name, judged)


def verdict_sentence(claim: Claim, judged: pd.DataFrame) -> str:
    """The verdict in Markdown: on the claim, and under its control."""
    found, control = verdict(judged), verdict(judged, "control")
    return (
        f"{BADGES[found]} **{claim.title}: {found}.** {_effects(judged, 'claim')} "
        f"({claim.statistic}).\n>\n> {BADGES[control]} {_CONTROLLED[control]}: "
        f"{_effects(judged, 'control')} ({claim.control})."
    )


def show_ledger(judged: pd.DataFrame) -> None:
    """Display every claim with its verdict, rule and control; glue the tables of all verdicts.

    Glued for other pages: ``verdict_table``, ``control_table`` (HTML), ``ledger_verdicts``,
    ``ledger_controls`` (how many claims got each verdict), and of each claim its effects and
    ``sensitivity_<name>``.

    Args:
        judged: `lrnb.claims.ledger`.
    """
    listed: dict[str, list[tuple[str, str, str]]] = {reading: [] for reading in READINGS}
    for name, claim in CLAIMS.items():
        rows = judged[judged["claim"] == name]
        depends, first = ["", ""], "Not computed yet."
        if len(rows):
            depends = [f" ({sensitivity(rows, reading)})" for reading in READINGS]
            first = verdict_sentence(claim, rows)
            _glue_effects(name, rows)
            glue(f"sensitivity_{name}", sensitivity(rows))
        show_markdown(
            f"> {first}\n\n"
            f"- *The paper* ({claim.where}): {claim.statement}\n"
            f"- *Statistic*: {claim.statistic}; must exceed {claim.threshold:g}{depends[0]}.\n"
            f"- *Control*: {claim.control}; must exceed {claim.control_threshold:g}{depends[1]}.\n"
            f"- *Chapter*: [{claim.chapter}]({claim.chapter}.ipynb)"
        )
        for reading in READINGS:
            found = verdict(rows, reading) if len(rows) else SMALL
            effects = _effects(rows, reading) if len(rows) else "not computed"
            listed[reading].append((claim.title, f"{BADGES[found]} {found}", effects))
    for reading, label in zip(READINGS, ("verdict", "control"), strict=True):
        heads = ("claim", "verdict" if reading == "claim" else "under the control", "effect")
        glue_html(f"{label}_table", _html_table(heads, listed[reading]))
        glue(f"ledger_{label}s", tally(judged, reading))


def checks(facts: Mapping[str, object]) -> None:
    """Print facts that hold at any scale, one a line; nbval compares the lines with those stored.

    >>> checks({"losses never fall with ε": True})
    losses never fall with ε: True
    """
    for name, fact in facts.items():
        print(f"{name}: {bool(fact)}")


def finish(chapter: str, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any]) -> None:
    """Save a chapter's tables, and display links to them, the time, the machine and the code.

    Args:
        chapter, tables, parameters: as of `lrnb.publish.tables.save`.
    """
    main = saved.save(chapter, tables, parameters)
    origin = json.loads(main.with_suffix(".json").read_text())
    about, made = origin["parameters"], origin["environment"]
    base = f"../results/{about['profile']}"
    stems = [f"{chapter}-{name}" if name else chapter for name in tables]
    links = [f"[{s}.csv]({base}/{s}.csv), made by [{s}.json]({base}/{s}.json)" for s in stems]
    seeds = ", ".join(map(str, about["seeds"]))
    lines = {
        "Data behind the figures": "; ".join(links),
        "Profile": about["profile"],
        "Data sets, seeds": f"{', '.join(about['datasets'])}; seeds {seeds}",
        "Time": f"{origin['seconds']:.0f} s; what the store held took none",
        "Machine": made["device"],
        "Code": f"lrnb {made['lrnb']}, commit {made['commit']}, torch {made['torch']}, "
        f"{made['time']}",
    }
    show_markdown("| | |\n|:--|:--|\n" + "\n".join(f"| {k} | {v} |" for k, v in lines.items()))


def explain_lpips() -> None:
    """Display what the LPIPS columns of a page are, or why they are empty."""
    if metrics.lpips_is_present():
        text = "LPIPS uses the SqueezeNet backbone, trained on photographs: on digits, shapes and "
        text += "clothes it is indicative only."
    else:
        text = "LPIPS was not computed: its weights are not on this machine. "
        text += "`lrnb fetch lpips` downloads them."
    show_markdown(text)


def show_benchmark(name: str, headings: Mapping[str, str]) -> None:
    """Display a table of ``results/bench/`` with the given columns and headings, and its machine."""
    file = saved.benchmarks() / f"{name}.csv"
    if not file.is_file():
        show_markdown(f"There is no table `{name}` in `results/bench/`.")
        return
    table = pd.read_csv(file)[list(headings)].rename(columns=headings)
    made = json.loads(file.with_suffix(".json").read_text())
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    lines = [list(table.columns), [":--"] * len(headings), *rows]
    machine = made["device"]
    if "matmul_gflops" in made:
        machine += f" with {made['threads']} threads, which multiplies matrices at "
        machine += f"{made['matmul_gflops']:.0f} GFLOP/s in float32"
    links = f"[{name}.csv](../results/bench/{name}.csv), made by "
    links += f"[{name}.json](../results/bench/{name}.json)"
    origin = f"Measured on {machine}; torch {made['torch']}, commit {made['commit']}, "
    origin += f"{made['time'][:10]}. {links}."
    show_markdown("\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{origin}")


def _effects(judged: pd.DataFrame, reading: str) -> str:
    return by_dataset(
        judged[judged["reading"] == check_name("reading", reading, READINGS)], "effect"
    )


def _glue_effects(name: str, judged: pd.DataFrame) -> None:
    glue(f"effect_{name}", _effects(judged, "claim"))
    glue(f"control_effect_{name}", _effects(judged, "control"))


def _html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value).replace("_", " ")
    return "–" if math.isnan(value) else f"{value:.4g}"
