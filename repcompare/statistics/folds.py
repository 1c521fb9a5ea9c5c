"""Train and test rows: who may be predicted from whom.

Rows arrive in the order of the *sorted* stimulus ids, so that a seed gives the same folds whatever the order
of the file.  Guards raise by default; each can be overridden by its name in ``force`` and is then named in
the scheme.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import AlignmentError, OptionError, choose, some
from repcompare.measures._measure import Folds, Index

Sample = Literal["stimulus", "presentation", "time"]
Pair = tuple[Index, Index]

FORCES = ("repeats", "time_shuffle")
ALONE = "leave-one-out"


def make_folds(  # noqa: PLR0913  (a public door: every option is keyword-only)
    n: int,
    folds: Any = 5,
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    sample: Sample = "stimulus",
    gap: int = 0,
    force: Iterable[str] = (),
    min_test: int = 3,
) -> Folds:
    """Draw train and test rows.

    Parameters
    ----------
    n : int
        Number of rows, in the order of the sorted stimulus ids (of time, for ``sample="time"``).
    folds : int, "loo", list of (train, test), or scikit-learn splitter
        How many folds, leave-one-out (leave-one-group-out with ``groups``), given rows, or a splitter.
    groups : array-like of shape (n,), optional
        Rows of one group stay on one side: classes, stimulus ids of trials, runs.
    seed : int
        Seed of the shuffle.  The same seed gives the same folds, on every machine.
    sample : {"stimulus", "presentation", "time"}
        ``"stimulus"`` shuffles rows; ``"presentation"`` needs ``groups``; ``"time"`` cuts contiguous blocks,
        or leaves out one run at a time when ``groups`` (the runs) are given, whatever the number in
        ``folds``.
    gap : int
        Rows removed from the training set on each side of a test block; only with ``sample="time"``.  Between
        runs that are contiguous nothing is removed.
    force : iterable of {"repeats", "time_shuffle"}
        Guards to override: groups on both sides of a split, shuffled rows of a time series.
    min_test : int
        Fewest test rows in a fold; 3 for scores that are correlations.  ``"loo"`` is exempt.

    Returns
    -------
    Folds
        Sorted index arrays per fold, ``n`` and a description of how they were drawn.

    Raises
    ------
    OptionError
        When there are more folds than rows or groups, one group, too few test rows, a gap or a shuffle that
        does not fit the sample dimension, or a splitter without a seed.
    AlignmentError
        When train and test overlap, share a group, or leave the range of rows.

    Examples
    --------
    >>> folds = make_folds(10, 2, seed=1)
    >>> [test.tolist() for _, test in folds.splits]
    [[0, 1, 4, 7, 8], [2, 3, 5, 6, 9]]
    >>> make_folds(12, 2, sample="time", gap=2).splits[0][0].tolist()
    [8, 9, 10, 11]
    >>> make_folds(8, 4)
    Traceback (most recent call last):
    repcompare.errors.OptionError: folds=4 leaves 2 test rows in a fold; expected at least 3; ... is folds=2
    """
    force = (force,) if isinstance(force, str) else tuple(force)
    _check_options(n, sample, gap, force)
    labels = None if groups is None else _group_codes(groups, n)
    if isinstance(folds, str):
        choose(folds, ("loo",), "folds")
        splits, scheme = _leave_one_out(n, labels, sample)
        min_test = 1
    elif isinstance(folds, (int, np.integer)) and not isinstance(folds, bool):
        splits, scheme = _counted(n, int(folds), labels, sample, gap, (seed, min_test, force))
    else:
        splits, scheme = _given(n, folds, labels)
        if sample == "time" and "time_shuffle" not in force:
            _refuse_shuffle(splits)
    sound = scheme == ALONE
    pairs = tuple(splits) if sound else tuple(_checked(pair, f, n, min_test) for f, pair in enumerate(splits))
    result = Folds(pairs, n, _named(scheme, force), labels, gap, force, in_time=sample == "time")
    if groups is not None:
        check_leakage(result, np.asarray(groups), force=force)
    return result


def autocorrelation_gap(
    y: npt.NDArray[np.floating], runs: npt.ArrayLike | None = None, *, threshold: float = 0.05
) -> int:
    """Return the first lag at which the mean autocorrelation over units falls below a threshold.

    Parameters
    ----------
    y : ndarray of shape (n, n_units)
        Samples in the order of time; NaN counts as the mean.
    runs : array-like of shape (n,), optional
        Samples of different runs are not compared, each run has its own mean.
    threshold : float
        0.05: below it neighbours say little about each other.

    Raises
    ------
    OptionError
        When it never falls below: the recording is too short for its own time scale.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(3000, 8))
    >>> autocorrelation_gap(noise), autocorrelation_gap(noise[2:] + noise[1:-1] + noise[:-2])
    (1, 3)
    """
    return first_below(autocorrelation_sums(y, runs), threshold)


def autocorrelation_sums(y: npt.NDArray[np.floating], runs: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
    """Return products of standardised samples at every lag, (n,), summed over units: those of batches of units add up."""
    values = np.asarray(y, dtype=np.float64)
    names = np.zeros(len(values)) if runs is None else np.asarray(runs)
    lags, size = np.zeros(len(values)), np.nan_to_num(np.nanstd(values, axis=0))
    for name in np.unique(names):
        part = values[names == name]
        centre = np.nanmean(part, axis=0) if np.isnan(part.sum()) else part.mean(axis=0)
        part = np.nan_to_num(part - centre)
        part = np.divide(part, size, out=np.zeros_like(part), where=size > 0)
        power = np.abs(np.fft.rfft(part, 2 * len(part), axis=0)) ** 2
        lags[: len(part)] += np.fft.irfft(power.sum(axis=1))[: len(part)]
    return lags


def first_below(lags: npt.NDArray[np.float64], threshold: float = 0.05) -> int:
    """Return the first lag at which sums of products are below a share of those at lag 0; see `autocorrelation_gap`."""
    below = np.flatnonzero(lags < threshold * lags[0])
    if lags[0] <= 0 or below.size == 0:
        raise OptionError("the autocorrelation of y never falls below 0.05; give gap= in samples")
    return int(below[0])


def check_leakage(folds: Folds, labels: npt.ArrayLike, *, force: Iterable[str] = (), what: str = "group") -> None:
    """Raise where a label is on both sides of a split.

    Parameters
    ----------
    folds : Folds
        Train and test rows.
    labels : array-like of shape (n,)
        Stimulus ids of trials, or any group.
    force : iterable of str
        ``"repeats"`` overrides.
    what : str
        What the labels are, for the message.

    Raises
    ------
    AlignmentError
        Naming the first three labels.

    Examples
    --------
    >>> import numpy as np
    >>> check_leakage(make_folds(6, 2, groups=[1, 1, 1, 2, 2, 2]), [1, 1, 1, 2, 2, 2])
    """
    if "repeats" in force:
        return
    names = np.asarray(labels)
    for f, (train, test) in enumerate(folds.splits):
        both = np.intersect1d(names[train], names[test])
        if both.size:
            raise AlignmentError(
                f"fold {f}: {both.size} {what} labels are in training and test rows: "
                f"{some(both.tolist(), 3)}; expected each on one side; give groups= with these labels, or "
                f"force=('repeats',)"
            )


def _check_options(n: int, sample: str, gap: int, force: Sequence[str]) -> None:
    choose(sample, ("stimulus", "presentation", "time"), "sample")
    for name in force:
        choose(name, FORCES, "force")
    if n < 2:
        raise OptionError(f"{n} rows; expected at least 2 to make folds")
    if gap < 0 or int(gap) != gap:
        raise OptionError(f"gap={gap!r}; expected a number of samples >= 0")
    if gap and sample != "time":
        raise OptionError(f"gap={gap} with sample={sample!r}; only a time series has neighbours; leave gap at 0")


def _group_codes(groups: npt.ArrayLike, n: int) -> Index:
    """Return the rank of each row's label among the sorted labels, shape (n,)."""
    names = np.asarray(groups)
    if names.shape != (n,):
        raise AlignmentError(f"groups have shape {names.shape}; expected one label for each of {n} rows")
    missing = [i for i, name in enumerate(names.tolist()) if name is None or name != name or name == ""]
    if missing:
        raise AlignmentError(f"{len(missing)} rows have no group label, first row {missing[0]}; label or drop them")
    unique, codes = np.unique(names, return_inverse=True)
    if unique.size < 2:
        raise OptionError(f"groups have 1 label, {unique[0].item()!r}; expected at least 2; leave groups out")
    return codes.astype(np.intp)


def _leave_one_out(n: int, labels: Index | None, sample: str) -> tuple[list[Pair], str]:
    if labels is not None:
        return _by_code(labels), f"leave-one-group-out, {int(labels.max()) + 1} groups"
    if sample != "stimulus":
        raise OptionError(f"folds='loo' leaks between the rows of sample={sample!r}; give groups= or a number of folds")
    if n < 4:
        return _by_code(np.arange(n)), ALONE + " of few rows"
    rows = np.arange(n)
    train = np.broadcast_to(rows, (n, n))[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return [(train[i], rows[i : i + 1]) for i in range(n)], ALONE


def _counted(
    n: int, k: int, labels: Index | None, sample: str, gap: int, rest: tuple[int, int, Sequence[str]]
) -> tuple[list[Pair], str]:
    """Return the splits of ``folds=k``."""
    seed, min_test, force = rest
    shuffled = sample == "stimulus" or "time_shuffle" in force or (sample == "presentation" and "repeats" in force)
    if k < 2:
        raise OptionError(f"folds={k}; expected at least 2")
    if sample == "time" and labels is not None:
        return _runs(labels, gap)
    available, what = (n, "rows") if labels is None else (int(labels.max()) + 1, "groups")
    if k > available:
        raise OptionError(f"folds={k}, but only {available} {what} are available; use folds={available} or fewer")
    if labels is not None:
        codes = _enough_tests(lambda j: _balanced(labels, j, seed), k, min_test)
        return _by_code(codes), f"{k} folds of {available} groups, seed {seed}"
    if shuffled:
        codes = _enough_tests(lambda j: _shuffled(n, j, seed), k, min_test)
        return _by_code(codes), f"{k} shuffled folds, seed {seed}"
    if sample == "presentation":
        raise OptionError("trials need groups= (stimulus ids or runs), so that no stimulus is on both sides")
    codes = _enough_tests(lambda j: _blocks(n, j), k, min_test)
    return _with_gap(_by_code(codes), n, gap), f"{k} contiguous blocks, gap {gap}"


def _enough_tests(draw: Callable[[int], Index], k: int, min_test: int) -> Index:
    """Return ``draw(k)``, or raise and name the largest number of folds that leaves enough test rows."""
    codes = draw(k)
    fewest = int(np.bincount(codes, minlength=k).min())
    if fewest >= min_test:
        return codes
    usable = next((j for j in range(k - 1, 1, -1) if np.bincount(draw(j), minlength=j).min() >= min_test), 0)
    advice = f"the largest usable is folds={usable}" if usable else "there are too few rows for any folds"
    raise OptionError(f"folds={k} leaves {fewest} test rows in a fold; expected at least {min_test}; {advice}")


def _shuffled(n: int, k: int, seed: int) -> Index:
    codes = np.empty(n, dtype=np.intp)
    codes[np.random.default_rng(seed).permutation(n)] = _blocks(n, k)
    return codes


def _blocks(n: int, k: int) -> Index:
    return np.repeat(np.arange(k), [part.size for part in np.array_split(np.arange(n), k)]).astype(np.intp)


def _balanced(labels: Index, k: int, seed: int) -> Index:
    """Give whole groups to folds: in shuffled order, largest first, each to the fold with the fewest rows."""
    sizes = np.bincount(labels)
    order = np.random.default_rng(seed).permutation(sizes.size)
    order = order[np.argsort(-sizes[order], kind="stable")]
    load, home = np.zeros(k, dtype=np.intp), np.zeros(sizes.size, dtype=np.intp)
    for group in order:
        home[group] = np.argmin(load)
        load[home[group]] += sizes[group]
    return home[labels]


def _runs(labels: Index, gap: int) -> tuple[list[Pair], str]:
    """Leave out one run at a time; runs cut into pieces get the gap around each piece."""
    runs = int(labels.max()) + 1
    contiguous = int((np.diff(labels) != 0).sum()) + 1 == runs
    splits = _by_code(labels)
    return (splits if contiguous else _with_gap(splits, labels.size, gap)), f"leave-one-run-out, {runs} runs"


def _by_code(codes: Index) -> list[Pair]:
    return [(np.flatnonzero(codes != f), np.flatnonzero(codes == f)) for f in range(int(codes.max()) + 1)]


def _with_gap(splits: list[Pair], n: int, gap: int) -> list[Pair]:
    """Take rows within ``gap`` of a test row out of the training rows."""
    if gap == 0:
        return splits
    found = []
    for train, test in splits:
        near = np.zeros(n + 2 * gap + 1, dtype=np.intp)
        np.add.at(near, test, 1)  # a test row i closes rows i - gap ... i + gap
        np.add.at(near, test + 2 * gap + 1, -1)
        closed = np.cumsum(near)[gap : gap + n] > 0
        found.append((train[~closed[train]], test))
    return found


def _given(n: int, folds: Any, labels: Index | None) -> tuple[list[Pair], str]:
    """Return the splits of a scikit-learn splitter or of a list of (train, test)."""
    if hasattr(folds, "split"):
        if getattr(folds, "random_state", 0) is None and getattr(folds, "shuffle", True):
            raise OptionError(f"{type(folds).__name__} shuffles without a seed; give it random_state=0")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # "groups are ignored": leakage is checked below
                pairs = list(folds.split(np.zeros((n, 1)), None, labels))
        except (ValueError, TypeError) as error:
            raise OptionError(f"{type(folds).__name__} cannot split {n} rows: {error}") from error
        scheme = f"{type(folds).__name__}, {len(pairs)} splits"
        return [(_index(a, n), _index(b, n)) for a, b in pairs], scheme
    try:
        pairs = [(_index(train, n), _index(test, n)) for train, test in folds]
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"folds={folds!r}; expected a number, 'loo', a list of (train, test) rows, or a splitter"
        ) from error
    if not pairs:
        raise OptionError("folds is an empty list; expected at least one (train, test)")
    return pairs, f"given, {len(pairs)} splits"


def _index(rows: npt.ArrayLike, n: int) -> Index:
    found = np.asarray(rows)
    if found.dtype == bool:
        if found.shape != (n,):
            raise AlignmentError(f"a mask of shape {found.shape} cannot select from {n} rows; expected shape ({n},)")
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ValueError(f"rows have shape {found.shape} and type {found.dtype}; expected a list of integers")
    return found.astype(np.intp)


def _refuse_shuffle(splits: list[Pair]) -> None:
    """Raise when test rows of a time series are scattered: most have no neighbour in the test set."""
    for f, (_, test) in enumerate(splits):
        pieces = int((np.diff(np.sort(test)) > 1).sum()) + 1
        if test.size > 2 and 2 * pieces > test.size:
            raise OptionError(
                f"fold {f}: {test.size} test rows of a time series lie in {pieces} pieces, so neighbours "
                f"leak into the training rows; use a number of folds (blocks), or force=('time_shuffle',)"
            )


def _checked(pair: Pair, fold: int, n: int, min_test: int) -> Pair:
    """Return one split, sorted, or raise when it is not a split of ``n`` rows."""
    train, test = np.sort(pair[0]), np.sort(pair[1])
    for name, rows in (("train", train), ("test", test)):
        if rows.size and (rows[0] < 0 or rows[-1] >= n):
            bad = rows[0] if rows[0] < 0 else rows[-1]
            raise AlignmentError(f"fold {fold}: {name} row {bad} does not exist; expected 0 to {n - 1}")
        if (np.diff(rows) == 0).any():
            raise AlignmentError(f"fold {fold}: {name} rows repeat; expected each row once")
    both = np.intersect1d(train, test)
    if both.size:
        raise AlignmentError(f"fold {fold}: rows {some(both.tolist(), 3)} are in both train and test")
    if test.size < min_test:
        raise OptionError(f"fold {fold} has {test.size} test rows; expected at least {min_test}; use larger test sets")
    if train.size < 3 and n > 3:
        raise OptionError(
            f"fold {fold} has {train.size} training rows; expected at least 3; use a smaller gap or test set"
        )
    return train, test


def _named(scheme: str, force: Sequence[str]) -> str:
    return f"{scheme}; forced: {', '.join(force)}" if force else scheme
