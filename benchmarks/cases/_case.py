"""What a case is: the same arrays for ours and for a peer, how far the answers may differ, and what is expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

Kind = Literal["faster", "cost", "above", "within"]


@dataclass(frozen=True)
class Target:
    """An expectation on two times.

    ``faster``: peer / ours is at least ``value``.  ``cost``: ours / peer is at most ``value``.  ``above``: ours takes at
    most ``value`` seconds longer than the peer.  ``within``: ours takes at most ``value`` seconds.
    """

    kind: Kind
    value: float

    def met(self, ours: float, peer: float) -> bool:
        if self.kind == "above":
            return ours - peer <= self.value
        if self.kind == "within":
            return ours <= self.value
        return peer / ours >= self.value if self.kind == "faster" else ours / peer <= self.value

    def __str__(self) -> str:
        return {
            "faster": f">= {self.value:g}x faster",
            "cost": f"<= {self.value:g}x the peer",
            "above": f"<= {self.value:g} s above",
            "within": f"within {self.value:g} s",
        }[self.kind]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison.

    Attributes
    ----------
    name : str
        Id on the command line.
    peer_name : str
        What the peer is.
    library : str
        The module that the peer needs; ``"numpy"`` for textbook code written here.
    make : callable
        ``(rng, quick) -> data`` with the attribute ``size`` (text).
    ours, peer : callable
        ``data -> answer``; these are timed.
    agree : callable
        ``(answer of ours, answer of the peer) -> largest difference``.
    tolerance : float
        What ``agree`` may return.
    target : Target, optional
        From the specification; none where it states none.
    threads : int
        BLAS threads that both sides may use.
    note : str
        Known differences in convention, and what each side does beyond the other.
    packaged : bool
        The package index has the peer, so that an extra of ours can name it.
    """

    name: str
    peer_name: str
    library: str
    make: Callable[[np.random.Generator, bool], Any]
    ours: Callable[[Any], Any]
    peer: Callable[[Any], Any]
    agree: Callable[[Any, Any], float]
    tolerance: float
    target: Target | None = None
    threads: int = 1
    note: str = ""
    packaged: bool = True

    @property
    def available(self) -> bool:
        return find_spec(self.library) is not None


def largest(ours: Any, peer: Any) -> float:
    """Return the largest absolute difference; NaN on one side only counts as infinite."""
    a, b = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (ours, peer))
    if a.shape != b.shape:
        return float("inf")
    difference = np.abs(a - b)
    difference[np.isnan(a) & np.isnan(b)] = 0.0
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))


def relative(ours: Any, peer: Any) -> float:
    """Return the largest absolute difference as a share of the peer's largest value."""
    return largest(ours, peer) / float(np.abs(peer).max())


def same_and_close(ours: Any, peer: Any) -> float:
    """For (choices, scores): the share of choices that differ, or the largest difference of scores, if that is more."""
    share = float(np.mean(~np.isclose(ours[0], peer[0], rtol=1e-9, atol=0)))
    return max(share, largest(ours[1], peer[1]))
