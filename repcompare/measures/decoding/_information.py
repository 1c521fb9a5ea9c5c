"""Mutual information between true and decoded classes, from counts of pairs, and its bias (Panzeri & Treves 1996)."""

from __future__ import annotations

import numpy as np

from repcompare.measures.decoding._scores import Counts
from repcompare.measures.decoding.models import Float64


def plugin_information(confusion: Counts) -> Float64:
    """Bits of the table of shares (..., n_classes, n_classes), rows the true classes."""
    total = confusion.sum(axis=(-2, -1), keepdims=True)
    expected = confusion.sum(axis=-1, keepdims=True) * (confusion.sum(axis=-2, keepdims=True) / total)
    ratio = np.divide(confusion, expected, out=np.ones(confusion.shape), where=confusion > 0)
    found: Float64 = (confusion / total * np.log2(ratio)).sum(axis=(-2, -1))
    return np.asarray(np.maximum(found, 0.0))  # rounding


def information_bias(confusion: Counts) -> Float64:
    """Bits by which the plug-in lies too high: ``(sum_s (R_s - 1) - (R - 1)) / (2 N ln 2)``, at least 0.

    R_s of the R classes that are ever decoded could have been decoded where the truth is s, see :func:`possible`.  The first
    term is the bias of the entropy given the truth, the second that of the entropy of what is decoded.  The numbers of the
    true classes are fixed by the data, information is convex in the rest, and so the bias is never below 0.
    """
    trials = confusion.sum(axis=(-2, -1))
    overall = possible(confusion.sum(axis=-2), np.full(trials.shape, confusion.shape[-1]))
    of_class = possible(confusion, np.broadcast_to(overall[..., None], confusion.shape[:-1]))
    tested = confusion.any(axis=-1)
    excess = ((of_class - 1) * tested).sum(axis=-1) - (overall - 1)
    return np.asarray(np.maximum(excess / (2 * trials * np.log(2)), 0.0))


def possible(counts: Counts, most: Counts) -> Counts:
    """How many outcomes have a probability above 0, of at most ``most`` (...), given how often each came (..., n_outcomes).

    The number of outcomes that have come is too low where trials are few.  With U more that have not come, each outcome that
    came n times in N has the probability (1 - g) (n + 1) / (N + R), and each other one g / U, where R came and
    ``g = U (1 - (N / (N + R))^(1/N))``: the answer is R + U for the U under which about R outcomes are expected to come.
    """
    trials, came = counts.sum(axis=-1), (counts > 0).sum(axis=-1)
    n, r = np.maximum(trials, 1)[..., None], came[..., None]
    best, gap = came.copy(), np.full(came.shape, np.inf)
    unseen = 1 - (n / (n + r)) ** (1 / n)  # probability of each that has not come
    for more in range(counts.shape[-1] + 1):
        allowed = (more == 0) | ((came + more <= most) & (more * unseen[..., 0] < 1))
        share = np.where(counts > 0, (1 - more * unseen) * (counts + 1) / (n + r), 0.0)
        expected = (1 - (1 - np.clip(share, 0.0, 1.0)) ** n).sum(axis=-1) + more * (
            1 - (1 - unseen[..., 0]) ** n[..., 0]
        )
        distance = np.abs(expected - came)
        closer = allowed & (distance < gap - 1e-12)
        best, gap = np.where(closer, came + more, best), np.where(closer, distance, gap)
    return np.asarray(best)
