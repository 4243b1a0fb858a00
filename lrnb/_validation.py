"""Checks of arguments: every error names the argument, what is accepted and what was given."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # (what answers without torch checks its arguments too)
    from torch import Tensor

T = TypeVar("T")


class UnknownName(ValueError, LookupError):
    """A name that is not one of the known ones; the message suggests the nearest."""


class Registry(dict[str, T]):
    """Entries by name, in the order in which they are shown; an unknown name is an error.

    >>> Registry("norm", {"l2": "L2", "linf": "L∞"})["l_2"]
    Traceback (most recent call last):
    lrnb._validation.UnknownName: norm must be one of l2, linf, got 'l_2'; did you mean 'l2'?
    """

    def __init__(self, argument: str, entries: dict[str, T] | None = None) -> None:
        super().__init__(entries or {})
        self.argument = argument

    def __missing__(self, name: str) -> T:
        return self[check_name(self.argument, name, self)]  # (raises)

    def add(self, name: str, entry: T) -> None:
        """Add an entry under a new name."""
        if name in self:
            raise ValueError(f"{self.argument} must be a new name, got {name!r}")
        self[name] = entry

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The given names without repetition, in the registry's order; all must be known."""
        found = {check_name(self.argument, name, self) for name in names}
        return [name for name in self if name in found]


def check_name(argument: str, given: str, accepted: Iterable[str]) -> str:
    """Return ``given`` if it is accepted, else raise `UnknownName` with the nearest known name."""
    names = list(accepted)
    if isinstance(given, str) and given in names:
        return given
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownName(f"{argument} must be one of {', '.join(names)}, got {given!r}{hint}")


def check_integer(argument: str, given: Any, minimum: int) -> int:
    """Return the integer ``given`` if it is at least ``minimum``, else raise ValueError."""
    try:
        number = operator.index(given)
    except (TypeError, RuntimeError):
        number = minimum - 1
    if isinstance(given, bool) or number < minimum:
        raise ValueError(f"{argument} must be an integer ≥ {minimum}, got {given!r}")
    if number >= 2**63:  # (more than torch takes)
        raise ValueError(f"{argument} must be an integer < 2⁶³, got {given!r}")
    return number


def check_number(argument: str, given: Any, least: float, *, above: bool = False) -> float:
    """Return ``given`` as a float if it is a finite number ≥ ``least`` (``above``: > it)."""
    try:
        number = math.nan if isinstance(given, (bool, str)) else float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not least <= number < math.inf or (above and number == least):
        sign = ">" if above else "≥"
        raise ValueError(f"{argument} must be a finite number {sign} {least:g}, got {given!r}")
    return number


def check_callable(argument: str, given: Any) -> None:
    """Raise ValueError unless ``given`` can be called."""
    if not callable(given):
        raise ValueError(f"{argument} must be callable, got {type(given).__name__}")


def check_numbers(argument: str, given: Any) -> Tensor:
    """Return numbers as a tensor in double precision, or raise ValueError."""
    import torch

    try:
        return torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{argument} must be numbers, got {type(given).__name__}") from error


def check_tensor(
    argument: str, given: Tensor, *, ndim: int | None = None, min_ndim: int = 1
) -> Tensor:
    """Return ``given`` if it is a non-empty, finite floating-point tensor of that many axes."""
    import torch

    if not isinstance(given, torch.Tensor) or not given.is_floating_point():
        kind = given.dtype if isinstance(given, torch.Tensor) else type(given).__name__
        raise ValueError(f"{argument} must be a floating-point tensor, got {kind}")
    if given.numel() == 0 or (given.ndim < min_ndim if ndim is None else given.ndim != ndim):
        axes = f"{min_ndim} or more axes" if ndim is None else f"{ndim} axes"
        got = f"got shape {tuple(given.shape)}"
        raise ValueError(f"{argument} must be a non-empty tensor of {axes}, {got}")
    if bad := int((~torch.isfinite(given)).sum()):
        raise ValueError(f"{argument} must be finite, got {bad} values that are NaN or infinite")
    return given


def check_same_shape(name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Raise ValueError unless both tensors have the same shape."""
    if a.shape != b.shape:
        shapes = f"{tuple(a.shape)}, got {tuple(b.shape)}"
        raise ValueError(f"{name_b} must have the shape of {name_a}, {shapes}")
