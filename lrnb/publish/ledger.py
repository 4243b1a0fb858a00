"""What a chapter and the ledger say of claims: verdicts, their choices, their curves."""

import pandas as pd

from lrnb.claims import CLAIMS, Claim, judge, shares, survives, tally, verdict, what_would_change
from lrnb.claims.effects import Tables
from lrnb.claims.verdicts import CONTRADICTED, HOLDS, MIXED, NONE, READINGS, UNDECIDED
from lrnb.models import get_profile
from lrnb.publish.display import by_dataset, glue, glue_html, html_table, show_markdown

_SHOW = {
    HOLDS: "agree", NONE: "show no effect", CONTRADICTED: "contradict it",
    UNDECIDED: "are undecided",
}  # fmt: skip
_SIGNS = {HOLDS: "▲", NONE: "■", CONTRADICTED: "▼", MIXED: "◆", UNDECIDED: "○"}


def show_verdict(name: str, tables: Tables, profile: str) -> pd.DataFrame:
    """Display the verdict on a claim from a chapter's tables; return what `lrnb.claims.judge` does.

    Glued for alternative texts: ``effect_NAME``, ``control_effect_NAME``, ``curve_NAME``.
    """
    judged = judge(CLAIMS[name], tables, decides=get_profile(profile).decides)
    show_markdown(f"> {verdict_text(CLAIMS[name], judged)}")
    _glue_effects(name, judged)
    return judged


def verdict_text(claim: Claim, judged: pd.DataFrame) -> str:
    """The verdict in Markdown: primary and control effects, the curve, what would change it."""
    parts = []
    for reading in READINGS:
        rows, found = judged[judged["reading"] == reading], verdict(judged, reading)
        head = f"{_sign(found)} **{claim.title}: {found}.** *Effect*: {claim.effect}. "
        if reading == "primary":
            head += f"*Smallest effect of interest*: {claim.least:.3g}. *Primary*"
        else:
            head = f"{_sign(found)} *Control*: {found}"
        effects = "; ".join(
            f"{by_dataset(row, 'effect', 3)} ({row['found'].item()})"
            for _, row in rows.groupby("dataset", sort=False)
        )
        parts.append(f"{head} ({_choices(claim, reading)}): {effects}.")
    parts[0] += f" *Why this one*: {claim.reason}."
    parts.append(
        f"*All choices*: {_curve(judged)}. *What would change it*: {what_would_change(judged)}."
    )
    return "\n>\n> ".join(parts)


def show_ledger(judged: pd.DataFrame) -> None:
    """Display every claim of a `lrnb.claims.ledger` with its verdict, rule and control.

    Glued for other pages: ``verdict_table``, ``control_table`` (HTML), ``ledger_verdicts``,
    ``ledger_controls`` (how many claims got each verdict), and of each claim its effects,
    ``curve_NAME`` and ``change_NAME``.
    """
    after = survives(judged) if len(judged) else {}
    for name, claim in CLAIMS.items():
        rows, told = judged[judged["claim"] == name], "Not computed yet."
        if len(rows):
            told = f"{verdict_text(claim, rows)}\n"
            if verdict(rows) == HOLDS:
                still = "still holds" if after[name] else "no longer holds on every data set"
                told += f"\n- After Holm's correction over all claims it {still}."
            _glue_effects(name, rows)
            glue(f"change_{name}", what_would_change(rows))
        show_markdown(
            f"> {told}\n- *The paper* ({claim.where}): {claim.statement}\n"
            f"- *Chapter*: [{claim.chapter}]({claim.chapter}.ipynb)"
        )
    for reading, label in zip(READINGS, ("verdict", "control"), strict=True):
        lines = []
        for name, claim in CLAIMS.items():
            rows = judged[judged["claim"] == name]
            if len(rows):
                found, effects = verdict(rows, reading), _effects(rows, reading)
                every = _curve(rows).partition(" of ")[0]
                found = f"{_sign(found)} {found}; of all {len(rows)} choices {every}"
                told = f"{claim.effect} ({_choices(claim, reading)}): {effects}"
                lines.append((claim.title, found, told))
            else:
                lines.append((claim.title, "not computed", ""))
        heads = ("claim", f"{reading}, all choices", "what is measured, effect")
        glue_html(f"{label}_table", html_table(heads, lines))
        glue(f"ledger_{label}s", tally(judged, reading))


def _sign(found: str) -> str:
    return _SIGNS[found.removesuffix(" in part")]


def _choices(claim: Claim, reading: str) -> str:
    """The primary choices; of the control, those that differ."""
    chosen = claim.primary if reading == "primary" else claim.control
    return ", ".join(f"{name}: {value}" for name, value in chosen.items())


def _curve(judged: pd.DataFrame) -> str:
    """What was found over the whole specification curve."""
    parts = [f"{share:.0%} {_SHOW[found]}" for found, share in shares(judged).items() if share]
    return f"{', '.join(parts)} of {len(judged)} combinations of choices and data sets"


def _effects(judged: pd.DataFrame, reading: str) -> str:
    return by_dataset(judged[judged["reading"] == reading], "effect", 3)


def _glue_effects(name: str, judged: pd.DataFrame) -> None:
    glue(f"effect_{name}", _effects(judged, "primary"))
    glue(f"control_effect_{name}", _effects(judged, "control"))
    glue(f"curve_{name}", _curve(judged))
