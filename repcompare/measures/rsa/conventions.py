"""Names and conventions of other packages, in one table: what they call a method, and what ours makes of it.

Where values differ from a peer on purpose, the note of the row says so; no other place does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose, suggest
from repcompare.measures.rsa._methods import METHODS, comparator
from repcompare.measures.rsa._moments import Moment, bures
from repcompare.measures.rsa._whitened import Matrix
from repcompare.measures.rsa.comparators import compare_rdms, embed_both

CONVENTIONS = ("repcompare", "rsatoolbox", "mne-rsa")


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """A method of another package.

    Attributes
    ----------
    method : str
        Ours.
    options : mapping
        Options that make ours theirs.
    squared_bures : bool
        The value is ``tr K_a + tr K_b - 2 |K_a^(1/2) K_b^(1/2)|_*``, a distance, not ours.
    controlled : bool
        It is a partial correlation: ``control=`` must be given.
    note : str
        Where values differ, and why.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    squared_bures: bool = False
    controlled: bool = False
    note: str = ""


_GRADIENT = "theirs stops its iterations at about 5e-6; ours is exact"
_VARIANCES = (
    "a vector of variances: theirs rescales the centred second moment, ours is V^-1 (up to .04 apart at 6 stimuli)"
)

COMPARATORS: dict[str, dict[str, Theirs]] = {
    "rsatoolbox": {
        "cosine": Theirs(method="cosine"),
        "corr": Theirs(method="pearson"),
        "spearman": Theirs(method="spearman"),
        "kendall": Theirs(method="kendall_tau_b"),
        "tau-b": Theirs(method="kendall_tau_b"),
        "tau-a": Theirs(method="kendall_tau_a"),
        "rho-a": Theirs(method="rho_a"),
        "cosine_cov": Theirs(method="whitened_cosine", note=f"{_GRADIENT}; {_VARIANCES}"),
        "corr_cov": Theirs(method="whitened_pearson", note=f"{_GRADIENT}; {_VARIANCES}"),
        "neg_riem_dist": Theirs(
            method="riemannian",
            note="theirs searches scale and ridge together from one start; ours has the scale in closed form",
        ),
        "bures": Theirs(method="bures", note="theirs takes roots of rounding: up to 1e-7 apart for singular RDMs"),
        "bures_metric": Theirs(
            method="bures",
            squared_bures=True,
            note="the squared distance, in the unit of the RDMs; not a metric itself",
        ),
    },
    "mne-rsa": {
        "spearman": Theirs(method="spearman"),
        "pearson": Theirs(method="pearson"),
        "kendall-tau-a": Theirs(method="kendall_tau_a"),
        "partial": Theirs(method="pearson", controlled=True),
        "partial-spearman": Theirs(method="spearman", controlled=True),
    },
}


@dataclass(frozen=True, kw_only=True)
class TheirDistance:
    """A distance of another package: ours, the options that make it theirs, and where values differ and why."""

    distance: str
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


_SUMS = {"normalize_units": False}
_FOLDS = "with unequal counts theirs are leave-one-out means over all trials of the other folds"
DISTANCE_NAMES: dict[str, dict[str, TheirDistance]] = {
    "rsatoolbox": {
        "euclidean": TheirDistance(distance="squared_euclidean", note="squared, divided by the number of units"),
        "correlation": TheirDistance(distance="correlation"),
        "mahalanobis": TheirDistance(distance="mahalanobis"),
        "crossnobis": TheirDistance(distance="crossnobis", note=_FOLDS),
        "crossnobis_unbalanced": TheirDistance(distance="crossnobis", options={"weighting": "trial"}),
        "poisson": TheirDistance(distance="poisson"),
        "poisson_cv": TheirDistance(distance="poisson_cv", note="theirs is the last fold, ours the mean over all"),
    },
    "mne-rsa": {
        "correlation": TheirDistance(distance="correlation"),
        "cosine": TheirDistance(distance="cosine"),
        "euclidean": TheirDistance(distance="euclidean", options=_SUMS),
        "sqeuclidean": TheirDistance(distance="squared_euclidean", options=_SUMS),
        "crossnobis": TheirDistance(
            distance="crossnobis",
            options=_SUMS,
            note="theirs (compute_rdm_cv of 1.0) compares training and test patterns by a distance, which keeps the bias of"
            " noise, and its training mean holds a part of the test fold (with 2 folds it is the test fold)",
        ),
    },
}


def distance_of(distance: str, convention: str = "repcompare") -> TheirDistance:
    """Return what a package's name of a distance means.

    Raises
    ------
    OptionError
        On an unknown convention, or a name that the package does not have.

    Examples
    --------
    >>> distance_of("euclidean", "rsatoolbox").distance
    'squared_euclidean'
    """
    choose(convention, CONVENTIONS, "convention")
    if convention == "repcompare":
        return TheirDistance(distance=distance)
    known = DISTANCE_NAMES[convention]
    if distance not in known:
        raise OptionError(f"distance={distance!r} is not a name of {convention}{suggest(distance, known)}")
    return known[distance]


def comparator_of(method: str, convention: str = "repcompare") -> Theirs:
    """Return what a package's name of a comparator means.

    Raises
    ------
    OptionError
        On an unknown convention, or a name that the package does not have.

    Examples
    --------
    >>> comparator_of("tau-a", "rsatoolbox").method
    'kendall_tau_a'
    """
    choose(convention, CONVENTIONS, "convention")
    if convention == "repcompare":
        choose(method, METHODS, "method")
        return Theirs(method=method)
    known = COMPARATORS[convention]
    if convention == "mne-rsa" and method == "regression":
        raise OptionError(
            "method='regression' of mne-rsa gives weights of models, not scores; take rdm_models.fit(weighted(models,"
            " nonnegative=False), data, method='pearson'), which has the same weights up to one factor, or"
            " variance_partitioning"
        )
    if method not in known:
        raise OptionError(f"method={method!r} is not a name of {convention}{suggest(method, known)}")
    return known[method]


def compare_as(
    a: npt.ArrayLike, b: npt.ArrayLike, method: str, convention: str = "repcompare", **options: Any
) -> float | Matrix:
    """Return :func:`~repcompare.measures.rsa.compare_rdms` under the names and conventions of another package.

    Parameters
    ----------
    a, b : array_like, shape (n_pairs,) or (n_rdms, n_pairs)
        Condensed RDMs.
    method : str
        Its name of the comparator.
    convention : {"repcompare", "rsatoolbox", "mne-rsa"}
        Which package.
    **options
        Ours.

    Examples
    --------
    >>> round(compare_as([1, 2, 3], [1, 2, 2], "rho-a", "rsatoolbox"), 12)
    0.75
    """
    theirs = comparator_of(method, convention)
    if theirs.controlled and options.get("control") is None:
        raise OptionError(f"method={method!r} of {convention} is a partial correlation; give control=, the other RDMs")
    if not theirs.squared_bures:
        return compare_rdms(a, b, theirs.method, **{**theirs.options, **options})
    how = comparator(theirs.method, **options)
    first, second = embed_both(a, b, how)
    table = np.array([[_squared_bures(x.left, y.right) for y in second] for x in first])
    return float(table[0, 0]) if np.ndim(a) == np.ndim(b) == 1 else table


def _squared_bures(a: Moment | None, b: Moment | None) -> float:
    if a is None or b is None:
        raise OptionError("the squared Bures distance needs complete RDMs; drop the stimuli with missing pairs")
    return max(0.0, a.trace + b.trace - 2 * float(np.sqrt(a.trace * b.trace)) * bures(a, b))
