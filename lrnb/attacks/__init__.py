"""Attacks on any decoder, a callable from codes to outputs."""

from lrnb.attacks.balls import BALLS, noise
from lrnb.attacks.jacobian import largest_singular, singular_values
from lrnb.attacks.minimum_norm import MinimumNorm, minimum_norm
from lrnb.attacks.pgd import Attack, attack
from lrnb.attacks.problem import squared_distance
from lrnb.attacks.step_rules import STEP_RULES

__all__ = [
    "BALLS", "STEP_RULES", "Attack", "MinimumNorm", "attack", "largest_singular", "minimum_norm",
    "noise", "singular_values", "squared_distance",
]  # fmt: skip
