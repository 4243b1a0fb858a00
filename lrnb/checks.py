"""What bad input gets: a typed error that names the argument, the value and what is accepted."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import SupportsIndex

import torch
from torch import Tensor


class UnknownName(ValueError, LookupError):
    """A name that is not one of the known ones; the message suggests the nearest."""


def one_of(argument: str, given: str, accepted: Iterable[str]) -> str:
    """Return ``given`` if it is accepted, else raise `UnknownName` with the nearest known name.

    >>> one_of("norm", "l2", ["l2", "linf"])
    'l2'
    >>> one_of("norm", "l_2", ["l2", "linf"])
    Traceback (most recent call last):
    lrnb.checks.UnknownName: norm='l_2' is not known; accepted: l2, linf. Did you mean 'l2'?
    """
    names = list(accepted)
    if given in names:
        return given
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownName(f"{argument}={given!r} is not known; accepted: {', '.join(names)}.{hint}")


def at_least(argument: str, given: SupportsIndex, least: int) -> int:
    """Return the whole number ``given`` if it is at least ``least``, else raise ValueError."""
    try:
        number = operator.index(given)
    except TypeError:
        number = least - 1
    if isinstance(given, bool) or number < least:
        raise ValueError(f"{argument}={given!r} is not accepted: a whole number ≥ {least} is")
    return number


def finite_batch(
    argument: str, given: Tensor, *, dims: int | None = None, least: int = 1
) -> Tensor:
    """Return ``given`` if it is a non-empty, finite floating tensor [N, …].

    Args:
        argument: its name.
        given: the tensor.
        dims: the exact number of axes; `least`: the least number where that is None.
    """
    if not isinstance(given, Tensor) or not given.is_floating_point():
        kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"{argument} is {kind}; a floating-point tensor is accepted")
    right = given.ndim >= least if dims is None else given.ndim == dims
    if given.numel() == 0 or not right:
        wanted = f"{least} or more axes" if dims is None else f"{dims} axes"
        raise ValueError(
            f"{argument} has shape {tuple(given.shape)}; a non-empty tensor of {wanted} is accepted"
        )
    if not bool(torch.isfinite(given).all()):
        bad = int((~torch.isfinite(given)).sum())
        raise ValueError(
            f"{argument} has {bad} values that are NaN or infinite; finite ones are accepted"
        )
    return given


def same_shape(name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Raise ValueError unless the two tensors have the same shape."""
    if a.shape != b.shape:
        raise ValueError(
            f"{name_b} has shape {tuple(b.shape)}; the shape of {name_a} is accepted, {tuple(a.shape)}"
        )
