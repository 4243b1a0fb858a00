"""The claims of the paper, and the rule that turns tables into verdicts."""

from lrnb.claims.definitions import CLAIMS, Claim
from lrnb.claims.verdicts import judge, ledger, shares, survives, tally, verdict, what_would_change

__all__ = [
    "CLAIMS", "Claim", "judge", "ledger", "shares", "survives", "tally", "verdict",
    "what_would_change",
]  # fmt: skip
