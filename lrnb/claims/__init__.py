"""The claims of the paper, and the rule that turns tables into verdicts."""

from lrnb.claims.definitions import CLAIMS, Claim
from lrnb.claims.verdicts import judge, ledger, sensitivity, tally, verdict

__all__ = ["CLAIMS", "Claim", "judge", "ledger", "sensitivity", "tally", "verdict"]
