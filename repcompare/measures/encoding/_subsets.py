"""Nested random subsets of the training rows: what is drawn together, in which order, and how much of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds, Index
from repcompare.measures.encoding._plan import FEWEST_TRAIN, Mask, Plan, Task, make_plan

SALT = (*b"learning_curve",)
DIGITS = 1000  # shares in messages are rounded up to the next thousandth


@dataclass(frozen=True)
class Pool:
    """What subsets are drawn from: items, which are single stimuli, groups, runs or blocks of rows.

    Attributes
    ----------
    item : ndarray of shape (n,)
        Item of each row; -1 for rows of items that no fold trains on.
    stratum : ndarray of shape (n_items,)
        Items of one stratum are in the same test sets: every subset takes its share of each.
    in_training : float
        Share of the items that a fold trains on, mean over folds.
    what : str
        What an item is, in the plural.
    folds : Folds
        Train and test rows of everything.
    """

    item: Index
    stratum: Index
    in_training: float
    what: str
    folds: Folds

    @property
    def n(self) -> int:
        """How many items there are."""
        return self.stratum.size

    def order(self, seed: int, draw: int) -> Index:
        """Draw an order of the items: the first m of it are the subset of m items, for every m.

        Strata are interleaved, each starting at a random place, so that every item is as likely to be early as any other and
        a subset holds each stratum's share up to one item.
        """
        rng = np.random.default_rng([seed, draw, *SALT])
        keys = np.empty(self.n)
        for stratum in range(int(self.stratum.max()) + 1):
            members = rng.permutation(np.flatnonzero(self.stratum == stratum))
            keys[members] = (np.arange(members.size) + rng.random()) / members.size
        return np.argsort(keys, kind="stable")

    def seen(self, order: Index, count: int) -> Mask:
        """Return which rows (n,) the first ``count`` items of an order hold."""
        chosen = np.zeros(self.n + 1, dtype=bool)  # the last place is that of -1
        chosen[order[:count]] = True
        return np.asarray(chosen[self.item])

    def plan(self, seen: Mask, *, nested: bool) -> Plan | None:
        """Return what is fitted within some rows; test sets stay whole.  None where a fold has too few rows for it."""
        outer = []
        for fold, (train, test) in enumerate(self.folds.splits):
            own = np.sort(train[seen[train]])
            if own.size < FEWEST_TRAIN:
                return None
            outer.append(Task(own, ((fold, np.sort(test)),)))
        inner = make_plan(self.folds, nested=True, seen=seen).inner if nested else ()
        if nested and {fold for task in inner for fold, _ in task.tests} != set(range(len(self.folds))):
            return None
        return Plan(tuple(outer), inner, len(self.folds))


def make_pool(folds: Folds, labels: npt.NDArray[np.generic] | None, what: str) -> Pool:
    """Return what subsets are drawn from; rows with one of ``labels`` (n,) are drawn together, None draws single rows.

    Examples
    --------
    >>> rows = np.arange(8)
    >>> folds = Folds(((rows[4:], rows[:4]), (rows[:4], rows[4:])), 8)
    >>> pool = make_pool(folds, rows // 2, "blocks")
    >>> pool.n, pool.stratum.tolist(), pool.seen(np.array([3, 0, 1, 2]), 2).nonzero()[0].tolist()
    (4, [1, 1, 0, 0], [0, 1, 6, 7])
    """
    codes = np.arange(folds.n) if labels is None else np.unique(labels, return_inverse=True)[1].reshape(folds.n)
    trained = np.zeros((len(folds), int(codes.max()) + 1), dtype=bool)
    tested = np.zeros((folds.n, len(folds)), dtype=bool)
    for fold, (train, test) in enumerate(folds.splits):
        trained[fold, codes[train]] = True
        tested[test, fold] = True
    used = trained.any(axis=0)
    place = np.where(used, np.cumsum(used) - 1, -1)
    first = np.unique(codes, return_index=True)[1][used]
    stratum = np.unique(np.packbits(tested[first], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return Pool(place[codes], stratum, float(trained[:, used].mean()), what, folds)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the subsets, ascending.

    Attributes
    ----------
    given : ndarray of shape (n_sizes,)
        Shares of the training data, or counts of items in it.
    counts : ndarray of shape (n_sizes,)
        Items that are drawn, those of the test sets included.
    """

    given: npt.NDArray[np.generic]
    counts: Index


def make_sizes(sizes: npt.ArrayLike, pool: Pool) -> Sizes:
    """Return how many items each size draws, or raise ``OptionError``."""
    given = np.unique(np.atleast_1d(np.asarray(sizes)))
    if given.size == 0 or given.dtype.kind not in "iuf" or np.ndim(sizes) > 1:
        raise OptionError(
            f"sizes={sizes!r}; expected shares of the training data, (0.1, 0.5, 1.0), or counts, (20, 50, 100)"
        )
    if given.dtype.kind == "f":
        if not (given[0] > 0 and given[-1] <= 1):
            raise OptionError(
                f"sizes={sizes!r}; expected shares above 0 and up to 1, or whole numbers that count {pool.what}"
            )
        counts = np.floor(given * pool.n + 0.5)
    else:
        most = int(pool.in_training * pool.n + 0.5)
        if not 1 <= given[0] <= given[-1] <= most:
            raise OptionError(
                f"sizes={sizes!r} count {pool.what} of training sets, which have {most}; expected 1 to {most}"
            )
        counts = np.minimum(np.floor(given / pool.in_training + 0.5), pool.n)
        counts[given == most] = pool.n
    found = counts.astype(np.intp)
    same = np.flatnonzero(np.diff(found) == 0)
    if same.size:
        a, b = given[same[0]], given[same[0] + 1]
        raise OptionError(
            f"sizes {a} and {b} draw the same {found[same[0]]} of {pool.n} {pool.what}; expected sizes that differ; "
            "leave one out"
        )
    return Sizes(given, found)


def check_smallest(sizes: Sizes, pool: Pool, orders: Sequence[Index], *, nested: bool) -> None:
    """Raise ``MeasureError`` where the smallest size is too small to be fitted, naming the smallest that is not."""

    def usable(count: int) -> bool:
        return all(pool.plan(pool.seen(order, count), nested=nested) is not None for order in orders)

    count = int(sizes.counts[0])
    if usable(count):
        return
    inside = ", with inner folds to choose alpha" if nested else ""
    found = (
        f"size {sizes.given[0]} draws {count} of {pool.n} {pool.what}: too few for {FEWEST_TRAIN} training rows in every "
        f"fold{inside}"
    )
    least = next((more for more in range(count + 1, pool.n + 1) if usable(more)), None)
    if least is None:
        raise MeasureError(f"{found}; no size is large enough; give more {pool.what}, or other folds")
    way = "" if not nested else ", or give a single alpha, alphas=10.0"
    raise MeasureError(f"{found}; the smallest usable size is {_as_given(least, sizes, pool)}{way}")


def _as_given(count: int, sizes: Sizes, pool: Pool) -> str:
    """Return the smallest size that draws ``count`` items at least, as the sizes were given."""
    if sizes.given.dtype.kind == "f":
        share = int(np.ceil(DIGITS * count / pool.n)) / DIGITS
        return f"{share:g}"
    wanted = range(1, int(pool.in_training * pool.n + 0.5) + 1)
    return str(next((c for c in wanted if c / pool.in_training + 0.5 >= count), wanted[-1]))


def joined(plans: Sequence[Plan]) -> Plan:
    """Return plans over the same folds as one: fold f of plan s is fold ``s * n_folds + f``."""
    outer = tuple(_shifted(task, s * plan.n_folds) for s, plan in enumerate(plans) for task in plan.outer)
    inner = tuple(_shifted(task, s * plan.n_folds) for s, plan in enumerate(plans) for task in plan.inner)
    return Plan(outer, inner, sum(plan.n_folds for plan in plans))


def _shifted(task: Task, by: int) -> Task:
    return replace(task, tests=tuple((fold + by, rows) for fold, rows in task.tests))


def batches(costs: Sequence[float], budget: float) -> Iterator[slice]:
    """Yield neighbours that fit in a budget together; at least one at a time.

    Examples
    --------
    >>> list(batches([1, 2, 3, 9], 5))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    start, spent = 0, 0.0
    for i, cost in enumerate(costs):
        if i > start and spent + cost > budget:
            yield slice(start, i)
            start, spent = i, 0.0
        spent += cost
    if costs:
        yield slice(start, len(costs))
