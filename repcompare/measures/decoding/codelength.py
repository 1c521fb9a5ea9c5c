"""Online code length: how many bits it takes to send the labels to someone who sees the responses (Voita & Titov 2020).

The rows are sent in blocks.  Each block is coded with the probabilities of a decoder fitted to the rows sent before; what
the decoder learns quickly is coded in few bits, whatever its accuracy in the end.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.linalg

from repcompare.measures._linalg import gram, symmetric
from repcompare.measures._measure import Index
from repcompare.measures.decoding._linear import discriminant, one_hot_counts
from repcompare.measures.decoding.models import Codes, Float64


def block_ends(n: int, n_classes: int) -> list[int]:
    """Return where blocks end: max(2 classes, 5 % of n) rows, then twice as many each time.

    Examples
    --------
    >>> block_ends(100, 4)
    [8, 16, 32, 64, 100]
    """
    ends = [min(n, max(2 * n_classes, -(-n // 20)))]
    while ends[-1] < n:
        ends.append(min(n, 2 * ends[-1]))
    return ends


def code_length(x: Float64, codes: Codes, n_classes: int, *, order: Index, alpha: float) -> float:
    """Bits of the online code of the labels.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units)
        Responses.
    codes : ndarray of int, shape (n_rows,)
        Labels.
    n_classes : int
        Number of classes.
    order : ndarray of int, shape (n_rows,)
        In which rows are sent.
    alpha : float
        Penalty of LDA, in units of tr(Kc) / p.

    Returns
    -------
    float
        ``t_1 log2 c - sum log2 p(label)``; a uniform code takes ``n log2 c``.  Class proportions are (n_k + 1) / (n + c), so
        that a class not sent before has a probability; its mean is that of all rows.

    Examples
    --------
    >>> labels = np.arange(40) % 2
    >>> bits = code_length(labels[:, None] + np.eye(40) * 1e-3, labels, 2, order=np.arange(40), alpha=0.1)
    >>> bits < 40
    True
    """
    labels = codes[order]
    kernel = symmetric(gram(x))[np.ix_(order, order)]
    damp = alpha * float(np.trace(kernel)) / x.shape[1]
    ends = block_ends(len(labels), n_classes)
    bits = ends[0] * np.log2(n_classes)
    for start, stop in pairwise(ends):
        logs = _log_posterior(kernel[:stop, :start], labels[:start], n_classes, damp)
        bits -= float(logs[labels[start:stop], np.arange(stop - start)].sum()) / np.log(2)
    return float(bits)


def _log_posterior(kernel: Float64, labels: Codes, n_classes: int, damp: float) -> Float64:
    """Log probabilities (n_classes, n_test) of the rows after the first ``len(labels)`` of ``kernel``."""
    n = len(labels)
    mean = kernel[:n].mean(axis=0)
    inside = kernel[:n] - mean - mean[:, None] + mean.mean()
    across = kernel[n:] - kernel[n:].mean(axis=1, keepdims=True) - mean + mean.mean()
    onehot = np.eye(n_classes)[labels]
    counts = one_hot_counts(labels[None], n_classes)
    factor = scipy.linalg.cho_factor(inside + damp * np.eye(n), lower=True)
    dual = scipy.linalg.cho_solve(factor, onehot - onehot.mean(axis=0))
    prior = np.log((counts + 1) / (n + n_classes))
    mix, offset = discriminant((onehot.T @ (inside @ dual))[None], counts, prior)
    values: Float64 = mix[0].T @ (across @ dual).T + offset[0][:, None]
    values -= values.max(axis=0)
    logs: Float64 = values - np.log(np.exp(values).sum(axis=0))
    return logs
