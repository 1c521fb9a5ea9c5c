"""Decoding in many small groups of units at once: spheres of a volume, discs of a cortical surface.

All groups share the sets of labels and the folds.  LDA with ``alpha``, ridge and nearest centroids have a kernel that makes
one hat matrix per group (Treder 2018) and counts right rows; the other decoders, areas under the ROC curve, and groups whose
hat matrix is close to singular go through :func:`repcompare.measures.decoding.crossvalidate.crossvalidate`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.decoding_spheres import CENTROID, LDA, RIDGE, group_hits
from repcompare.kernels.searchlight import AGAIN, DONE, FLAT
from repcompare.measures._measure import Folds
from repcompare.measures.decoding._hat import SINGULAR
from repcompare.measures.decoding.crossvalidate import Task, crossvalidate
from repcompare.measures.decoding.models import Codes, Float64
from repcompare.measures.rsa._spheres import FLAT_PATTERN, UNDEFINED, Groups

__all__ = ["Decoded", "Groups", "Spheres", "spheres"]

KINDS = {"ridge": RIDGE, "lda": LDA, "nearest_centroid": CENTROID}
TILE_BYTES = 2**19  # of the indicators of the sets that go through a group together: they stay in the cache
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a block of groups gave.

    Attributes
    ----------
    scores : ndarray, shape (n_groups, n_sets)
        NaN where there is a reason.
    reasons : ndarray of str, shape (n_groups,)
        Why a group has no score; empty where it has one.
    message : str
        Of the first group that could not be computed.
    """

    scores: Float64
    reasons: npt.NDArray[np.str_]
    message: str = ""


@dataclass(frozen=True, eq=False)
class Spheres:
    """What is computed in every group; made by :func:`spheres`.

    Attributes
    ----------
    task : Task
        Sets of labels, folds, model and scoring.
    folds : tuple of ndarray
        Removed rows of each fold: starts, rows, whether they are tested.
    labels : tuple of ndarray, optional
        Tiles of sets, as the kernel takes them; None where there is no kernel.
    tested : ndarray, shape (n_sets, n_classes)
        Test rows of each class.
    """

    task: Task
    folds: tuple[Ints, Ints, npt.NDArray[np.bool_]]
    labels: tuple[npt.NDArray[np.int16], Float64, Ints] | None
    tested: Float64

    def run(self, values: npt.NDArray[np.floating[Any]], groups: Groups) -> Decoded:
        """Decode in all groups of a block.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_at_hand)
            Responses of the units at hand.
        groups : Groups

        Returns
        -------
        Decoded

        Raises
        ------
        MeasureError
            On missing or infinite values.
        """
        if not np.isfinite(values).all():
            raise MeasureError(
                f"the volume has {int((~np.isfinite(values)).sum())} missing or infinite values near one centre; expected "
                "finite responses; leave these units out by mask="
            )
        x = np.ascontiguousarray(values.T, dtype=np.float64)
        x = x - x[:, :1]  # first, so that constant units are exactly 0
        x -= x.mean(axis=1, keepdims=True)
        n = len(groups.starts) - 1
        scores, status = np.full((n, len(self.task.codes)), np.nan), np.full(n, AGAIN, dtype=np.int8)
        if self.labels is not None:
            self._fast(x, groups, scores, status)
        reasons, message = np.full(n, "", dtype="<U14"), ""
        reasons[status == FLAT] = FLAT_PATTERN
        for group in np.flatnonzero(status == AGAIN).tolist():
            part = x[groups.of(group)].T
            if not part.any():
                reasons[group] = FLAT_PATTERN
                continue
            try:
                scores[group] = crossvalidate(np.ascontiguousarray(part), self.task).score
            except MeasureError as error:  # not defined on these units; other groups are none the worse
                reasons[group], message = UNDEFINED, message or str(error)
        return Decoded(scores, reasons, message)

    def _fast(self, x: Float64, groups: Groups, scores: Float64, status: npt.NDArray[np.int8]) -> None:
        assert self.labels is not None
        codes, model = self.labels[0], self.task.model
        n_sets, n_classes = self.tested.shape
        hits = np.empty((len(status), len(codes), n_classes, codes.shape[2]), dtype=np.int32)
        limits = (1.0 if model.alpha is None else model.alpha, SINGULAR)
        lists = groups.starts, groups.members
        group_hits(x, lists, (KINDS[model.name], self.folds, limits), self.labels, hits, status)
        done = np.flatnonzero(status == DONE)
        right = hits.transpose(0, 1, 3, 2).reshape(len(status), -1, n_classes)[done, :n_sets]
        if self.task.scoring == "accuracy":
            scores[done] = right.sum(axis=2) / self.tested.sum(axis=1)
        else:
            scores[done] = (right / self.tested).mean(axis=2)


def spheres(task: Task) -> Spheres:
    """Prepare sets of labels and folds for many groups.

    Parameters
    ----------
    task : Task
        As for :func:`repcompare.measures.decoding.crossvalidate.crossvalidate`; the first set is the true one.

    Returns
    -------
    Spheres

    Raises
    ------
    MeasureError
        When a class has no test rows in any fold, and the score is their balanced accuracy.

    Examples
    --------
    >>> from repcompare.measures.decoding.models import make_model
    >>> rows = np.arange(8)
    >>> folds = Folds(tuple((rows[rows // 2 != f], rows[rows // 2 == f]) for f in range(4)), 8)
    >>> model = make_model("lda", alpha=0.1)
    >>> task = Task(codes=rows[None] % 2, n_classes=2, folds=folds, model=model, scoring="accuracy")
    >>> x = np.eye(8)[:, :3] * 0.1 + (rows % 2)[:, None]
    >>> spheres(task).run(x, Groups(np.array([0, 3]), np.arange(3, dtype=np.int32), np.arange(3))).scores
    array([[1.]])
    """
    tested = _counted(task, [test for _, test in task.folds.splits]).sum(axis=0)
    if task.scoring == "balanced_accuracy" and (tested == 0).any():
        raise MeasureError("balanced_accuracy: a class has no test rows in any fold; expected some; use other folds")
    return Spheres(task, _removed(task.folds), _labels(task) if _has_kernel(task) else None, tested)


def _has_kernel(task: Task) -> bool:
    """Whether right rows are all that is needed, and every training set holds every class in every set of labels."""
    linear = task.model.name in KINDS and task.model.smooths and task.scoring != "auc"
    return linear and bool(_counted(task, [train for train, _ in task.folds.splits]).all())


def _counted(task: Task, rows: list[Any]) -> Float64:
    """Rows of each class, (n_folds, n_sets, n_classes)."""
    return np.stack(
        [np.stack([(task.codes[:, r] == k).sum(axis=1) for k in range(task.n_classes)], axis=1) for r in rows]
    ).astype(np.float64)


def _removed(folds: Folds) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    every = np.arange(folds.n)
    rows = [np.setdiff1d(every, train) for train, _ in folds.splits]
    tested = [np.isin(r, test) for r, (_, test) in zip(rows, folds.splits, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    return starts, np.concatenate(rows).astype(np.int64), np.concatenate(tested)


def _labels(task: Task) -> tuple[npt.NDArray[np.int16], Float64, Ints]:
    """Cut the sets into tiles; the last is filled up with the true labels."""
    n_sets, n = task.codes.shape
    width = int(min(n_sets, max(16, TILE_BYTES // (8 * n * task.n_classes))))
    n_tiles = -(-n_sets // width)
    width = -(-n_sets // n_tiles)
    filled = np.tile(task.codes[:1], (n_tiles * width, 1))
    filled[:n_sets] = task.codes
    train = np.array([len(t) for t, _ in task.folds.splits], dtype=np.int64)
    counts = _counted(replace(task, codes=filled), [t for t, _ in task.folds.splits])
    lda = task.model.name == "lda"
    base = 0.5 * train[:, None, None] / counts + np.log(counts) if lda else 1 / counts
    tiles = base.reshape(len(train), n_tiles, width, task.n_classes).transpose(1, 0, 3, 2)
    codes: Codes = filled.reshape(n_tiles, width, n).transpose(0, 2, 1)
    return np.ascontiguousarray(codes, dtype=np.int16), np.ascontiguousarray(tiles), train
