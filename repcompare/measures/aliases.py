"""Names under which other packages know our measures, and the options that give their value.

Grammar: ``[measure/REPO/]NAME[-param=value]*[-score | -distance=FORM][-cv=5folds]``, as in the repository of similarity
measures (Cloos et al. 2024).  An alias follows the other package's convention, even where our default differs; its note
says so, and scores record it.

Some names are ids of ours too (``cka``, ``cca``, ``gulp``, ``distance_correlation`` ...).  Bare, such a name is our measure
with our defaults; with a prefix or any part of the grammar it is the other package's: ``gulp`` is our metric, the root of
the squared distance with its guard, ``measure/sim_metric/gulp`` and ``gulp-lambda=1e-3`` are the squared distance without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from repcompare.errors import OptionError, UnknownMeasureError, suggest

Options = Mapping[str, Any]


class Alias(NamedTuple):
    """What a name means: ``registry.make(id, **options)``, turned into a distance of ``form`` where that is given."""

    id: str
    options: dict[str, Any]
    note: str
    form: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    id : str
        Our measure.
    options : mapping
        Options that give the other package's value.
    params : mapping of str to callable
        ``param=value`` -> options.
    flags : mapping of str to options
        Bare words.
    forms : mapping of str to options
        ``score`` and the values of ``distance=`` that options of ours give.
    wrapped : tuple of str
        Values of ``distance=`` that are made from the score.
    cv : mapping, optional
        Options of the held-out form, in place of ``options``; None where there is none.
    cv_id : str
        Its measure, where it is another.
    repos : mapping of str to options
        Prefixes that stand for a convention.
    note : str
        How the convention differs from our default.
    said_by : str
        The parameter that makes the note needless, as it names the convention.
    """

    id: str
    options: Options = field(default_factory=dict)
    params: Mapping[str, Callable[[str], Options]] = field(default_factory=dict)
    flags: Mapping[str, Options] = field(default_factory=dict)
    forms: Mapping[str, Options] = field(default_factory=dict)
    wrapped: tuple[str, ...] = ("angular", "one_minus_score")
    cv: Options | None = None
    cv_id: str = ""
    repos: Mapping[str, Options] = field(default_factory=dict)
    note: str = ""
    said_by: str = ""


def _option(name: str, convert: Callable[[str], Any]) -> Callable[[str], Options]:
    return lambda text: {name: convert(text)}


def _named(name: str, table: Mapping[str, Any], *, strict: bool = True) -> Callable[[str], Options]:
    def convert(text: str) -> Options:
        if text not in table and strict:
            raise OptionError(f"{name}={text!r} has no counterpart{suggest(text, table)}")
        return {name: table.get(text, text)}

    return convert


_HSIC = {"gretton": "biased", "song": "debiased", "lange": "rv2"}
_KERNELS = {"linear": "linear", "rbf": "rbf", "laplace": "laplace"}
_RDMS = {"pearson": "correlation", "corr": "correlation"}
_COMPARE = {
    "tau_a": "kendall_tau_a", "tau_b": "kendall_tau_b", "kendall": "kendall_tau_b", "corr": "pearson",
    "cosine_cov": "whitened_cosine", "corr_cov": "whitened_pearson",
}  # fmt: skip
_TOPK = {"topk": _option("k", int), "k": _option("k", int)}
_BURES: Options = {"score": "euclidean", "scale": False}
_PROCRUSTES: Mapping[str, Options] = {
    "score": {"score": "similarity"}, "angular": {"score": "angular"}, "euclidean": _BURES,
    "squared_euclidean": _BURES, "one_minus_score": {"score": "similarity"},
}  # fmt: skip
_SHAPE: Mapping[str, Options] = {
    "score": {"score": "similarity"}, "angular": {"score": "angular"}, "euclidean": {"score": "euclidean"},
    "squared_euclidean": {"score": "euclidean"}, "one_minus_score": {"score": "similarity"},
}  # fmt: skip
_SQUARE = ("squared_euclidean", "one_minus_score")
_BIASED = "the biased estimator (gretton); ours is debiased (song) by default"
_UNSCALED = "between centred data in response units; ours have unit length by default"
_IN_SAMPLE = "in sample, as other packages do; ours is held out by default"
_UNGUARDED = "no guard against ranks that fill the stimuli"
_SCORING: Mapping[str, Options] = {"r2": {"scoring": "r2"}, "pearson": {"scoring": "pearson"}}
_ALPHAS = _option("alphas", lambda text: [float(text)])


def _encoder(name: str, **params: Callable[[str], Options]) -> Row:
    return Row(id=name, params=params, flags=_SCORING, wrapped=(), cv={}, options={"in_sample": True})


ROWS: dict[str, Row] = {
    "cka": Row(
        id="cka",
        options={"estimator": "biased"},
        params={
            "kernel": _named("kernel", _KERNELS),
            "sigma": lambda text: {"bandwidth": float(text), "bandwidth_scale": "absolute"},
            "hsic": _named("estimator", _HSIC),
        },
        forms={"angular": {"angular": True}},
        note=_BIASED,
        said_by="hsic",
    ),
    "linear_cka": Row(id="cka", options={"estimator": "biased"}, forms={"angular": {"angular": True}}, note=_BIASED),
    "cca": Row(
        id="cca",
        options={"held_out": False, "degenerate": "allow"},
        flags={"squared_score": {"summary": "mean_squared"}},
        cv={"held_out": True},
        note=_IN_SAMPLE,
    ),
    "svcca": Row(
        id="svcca",
        params={"var": _option("variance", float), "dim": _option("n_components", int)},
        repos={"netrep": {"denominator": "geometric"}},
    ),
    "pwcca": Row(id="pwcca", note="the form of canonical variates, not the coefficient form of google/svcca"),
    "procrustes": Row(id="procrustes", forms=_PROCRUSTES, wrapped=_SQUARE, options={"form": "needed"}),
    "nbs": Row(id="procrustes", options={"score": "similarity"}, forms=_PROCRUSTES, wrapped=_SQUARE),
    "orthogonal_angular_shape_metric_centered": Row(id="procrustes", options={"score": "angular"}, wrapped=()),
    "orthogonal_procrustes_centered_and_normalized": Row(id="procrustes", options={"score": "euclidean"}, wrapped=()),
    "bures_distance": Row(id="procrustes", options=_BURES, wrapped=()),
    "shape_metric": Row(
        id="shape_distance",
        options={"convention": "netrep"},
        params={"alpha": _option("alpha", float)},
        forms=_SHAPE,
        wrapped=_SQUARE,
        note="netrep's whitening, which depends on the unit of measurement; ours does not",
    ),
    "permutation_metric": Row(id="shape_distance", options={"group": "permutation"}, forms=_SHAPE, wrapped=_SQUARE),
    "permutation_procrustes": Row(
        id="permutation",
        options={"score": "euclidean", "scale": False, "centre": False},
        wrapped=("squared_euclidean",),
    ),
    "hard_correlation_match": Row(id="one_to_one"),
    "soft_correlation_match": Row(
        id="semi_match", options={"symmetric": True}, note="each unit's best partner; the transport plan is soft_match"
    ),
    "pairwisematching": Row(id="semi_match", options={"held_out": True}, cv={"held_out": True}),
    "gulp": Row(
        id="gulp",
        options={"squared": True, "degenerate": "allow"},
        params={"lambda": _option("regularization", float)},
        forms={"euclidean": {"squared": False}, "squared_euclidean": {}},
        wrapped=(),
        note="the squared distance, which is no metric, unless distance=euclidean; " + _UNGUARDED,
    ),
    "distance_correlation": Row(
        id="distance_correlation", options={"debiased": False}, note="the V-statistic; ours is debiased by default"
    ),
    "linear_regression": Row(
        id="linear_r2",
        options={"predicted": "source", "degenerate": "allow"},
        flags=_SCORING,
        cv={},
        cv_id="linear",
        note="R2 of the source from the target, " + _IN_SAMPLE,
    ),
    "ensd": Row(id="ensd"),
    "eigenspace_overlap_score": Row(id="eigenspace_overlap", options={"degenerate": "allow"}, note=_UNGUARDED),
    "aligned_cosine_similarity": Row(id="aligned_cosine"),
    "jaccard_similarity": Row(id="jaccard", options={"k": 10}, params=_TOPK),
    "second_order_cosine_similarity": Row(id="second_order_cosine", options={"k": 10}, params=_TOPK),
    "mutual_knn": Row(id="mutual_knn", params=_TOPK),
    "cknna": Row(
        id="cknna", params=_TOPK, note="symmetrised; published code depends on the order of the systems by 1e-3"
    ),
    "rsm_norm_difference": Row(id="rsm_norm", repos={"resi": {"norm": "spectral"}}, wrapped=()),
    "magnitude_difference": Row(id="magnitude_difference", wrapped=()),
    "uniformity_difference": Row(id="uniformity_difference", wrapped=()),
    "concentricity_difference": Row(id="concentricity_difference", wrapped=()),
    "rsa": Row(
        id="rsa",
        params={
            "rdm": _named("distance", _RDMS, strict=False),
            "compare": _named("method", _COMPARE, strict=False),
        },
    ),
    "ridge": _encoder("ridge", **{"lambda": _ALPHAS}),
    "kernel_ridge": _encoder("kernel_ridge", **{"lambda": _ALPHAS}),
    "pls": _encoder("pls", dim=_option("n_components", int), n_components=_option("n_components", int)),
}

# measure of the table that a version may lack -> the one to take meanwhile
NEAREST = {"kernel_ridge": "ridge", "pls": "ridge", "linear": "ridge"}

NOT_PROVIDED: dict[str, tuple[str, str]] = {
    "imd": ("stochastic heat-kernel spectra", "rsm_norm"),
    "rtd": ("persistent homology", "distance_correlation"),
    "geometry_score": ("persistent homology", "distance_correlation"),
    "stir": ("needs inverted stimuli", "cka"),
    "isc": ("correlation of time courses", "rsa"),
    "versa": ("needs its own code", "rsa"),
    "wreath_": ("wreath-product metrics", "shape_distance"),
    "max_match": ("depends on the order of units", "semi_match"),
    "cycle_knn": ("a neighbour count without exact null", "mutual_knn"),
    "lcs_knn": ("a neighbour count without exact null", "mutual_knn"),
    "edit_distance_knn": ("a neighbour count without exact null", "mutual_knn"),
    "rank_similarity": ("ranks of neighbours", "jaccard"),
}

COMMON = (
    "linear_cka", "cka-kernel=linear-hsic=gretton", "cka-kernel=linear-hsic=song", "cka-kernel=linear-hsic=lange",
    "cka-kernel=(rbf-sigma=2.0)-hsic=gretton", "cka-kernel=linear-hsic=gretton-distance=angular",
    "procrustes-score", "procrustes-distance=angular", "procrustes-distance=euclidean",
    "procrustes-distance=squared_euclidean", "nbs-score", "nbs-distance=angular",
    "orthogonal_angular_shape_metric_centered", "orthogonal_procrustes_centered_and_normalized", "bures_distance",
    "shape_metric-alpha=0.5-distance=angular", "permutation_metric-distance=angular", "permutation_procrustes",
    "cca-squared_score", "cca-cv=5folds", "svcca-var=0.99", "svcca-dim=10",
    "measure/netrep/svcca-var=0.99", "measure/netrep/svcca-dim=10", "measure/google_svcca/pwcca",
    "hard_correlation_match", "soft_correlation_match", "pairwisematching", "gulp-distance=squared_euclidean",
    "linear_regression", "eigenspace_overlap_score", "measure/resi/distance_correlation",
    "aligned_cosine_similarity", "jaccard_similarity", "second_order_cosine_similarity",
    "mutual_knn-topk=5", "cknna-topk=5", "rsm_norm_difference", "measure/resi/rsm_norm_difference",
    "rsa-rdm=squared_euclidean-compare=cosine_cov", "ridge-lambda=1-r2-cv=5folds",
)  # fmt: skip

_SPLIT = re.compile(r"-(?=[A-Za-z_])")  # not inside 1e-3


def parse(name: str) -> Alias | None:
    """Read another package's name of a measure.

    Parameters
    ----------
    name : str
        Such as ``"measure/netrep/svcca-var=0.99"``.

    Returns
    -------
    Alias or None
        (id, options, note, form); None when the name is nobody's.  A bare name that is also an id of ours is read as the
        other package's here; the registry looks among its own ids first.

    Raises
    ------
    UnknownMeasureError
        For measures that are deliberately not provided, naming the nearest.
    OptionError
        For a known name with a parameter, distance or fold scheme that it does not have.

    Examples
    --------
    >>> parse("mutual_knn-topk=5-distance=one_minus_score")
    Alias(id='mutual_knn', options={'k': 5}, note='', form='one_minus_score')
    >>> parse("ckaa") is None
    True
    """
    repo, body = _prefix(name)
    head, *words = _SPLIT.split(body)
    _refuse(head)
    row = ROWS.get(head)
    if row is None:
        return None
    params = dict(word.partition("=")[::2] for word in words if "=" in word)
    flags = [word for word in words if "=" not in word]
    cv, wanted = params.pop("cv", None), params.pop("distance", None)
    if "score" in flags:
        flags.remove("score")
        wanted = _only(wanted, name)
    options, notes = _base(row, cv, name)
    if row.said_by and row.said_by in params:
        notes = [note for note in notes if note != row.note]
    form = _form(row, wanted, options, name)
    _fill(row, params, flags, options, name)
    if options.get("scale") is False:
        notes.append(_UNSCALED)
    if repo and repo in row.repos:
        options |= row.repos[repo]
    elif repo:
        notes.append(f"the prefix measure/{repo} is ignored")
    identity = row.cv_id if cv and row.cv_id else row.id
    return Alias(identity, options, "; ".join(notes), form)


def _prefix(name: str) -> tuple[str, str]:
    """Repository and the rest, without brackets, hyphens of tau-a among them."""
    match = re.fullmatch(r"(?:measure/([^/]+)/)?([^/]+)", name)
    if match is None:
        return "", name
    body = re.sub(r"\b(tau|rho)-(a|b)\b", r"\1_\2", match[2].replace("(", "").replace(")", ""))
    return match[1] or "", body


def _refuse(head: str) -> None:
    for key, (why, nearest) in NOT_PROVIDED.items():
        if head == key or (key.endswith("_") and head.startswith(key)):
            raise UnknownMeasureError(f"{head!r} is not provided ({why}); the nearest measure is {nearest!r}")


def _only(wanted: str | None, name: str) -> str:
    if wanted is not None:
        raise OptionError(f"{name!r} asks for the score and for a distance; expected one of them")
    return "score"


def _base(row: Row, cv: str | None, name: str) -> tuple[dict[str, Any], list[str]]:
    """Options of the in-sample or the held-out form, and the notes so far."""
    if cv is None:
        if "in_sample" in row.options:
            raise OptionError(f"{name!r}: in-sample fits are not scores; expected the held-out form, {name}-cv=5folds")
        return dict(row.options), [row.note] if row.note else []
    folds = re.fullmatch(r"(\d+)folds?", cv)
    if row.cv is None or folds is None:
        raise OptionError(
            f"{name!r}: cv={cv!r} is not available; "
            + ("expected cv=5folds" if row.cv is not None else "no held-out form")
        )
    notes = [] if folds[1] == "5" else [f"folds are an option of the comparison: folds={folds[1]}"]
    return dict(row.cv), notes


def _form(row: Row, wanted: str | None, options: dict[str, Any], name: str) -> str | None:
    """Put the options of the asked score or distance in place; return the form that is left to be made from the score."""
    needed = options.pop("form", None) is not None
    if wanted is None and needed:
        raise OptionError(f"{name!r}: expected one of -score, -distance=angular, -distance=euclidean")
    if wanted is None or (wanted == "score" and "score" not in row.forms):
        return None
    if wanted not in row.forms and wanted not in row.wrapped:
        menu = sorted({*row.forms, *row.wrapped} - {"score"})
        found = f"; expected one of {', '.join(menu)}" if menu else ""
        raise OptionError(f"{name!r}: distance={wanted!r} is not defined for {row.id}{found}")
    options |= row.forms.get(wanted, {})
    return wanted if wanted in row.wrapped and not (wanted in row.forms and wanted not in _SQUARE) else None


def _fill(row: Row, params: Mapping[str, str], flags: list[str], options: dict[str, Any], name: str) -> None:
    """Add what parameters and bare words stand for."""
    for flag in flags:
        if flag not in row.flags:
            raise OptionError(f"{name!r}: {flag!r} is not understood{suggest(flag, [*row.flags, *row.params])}")
        options |= row.flags[flag]
    for key, text in params.items():
        if key not in row.params:
            raise OptionError(f"{name!r}: parameter {key!r} is not understood{suggest(key, row.params)}")
        try:
            options |= row.params[key](text)
        except OptionError:
            raise
        except ValueError:
            raise OptionError(f"{name!r}: {key}={text!r} is not a number") from None


def _table() -> dict[str, tuple[str, dict[str, Any]]]:
    found = {name: parse(name) for name in COMMON}
    return {name: (alias.id, alias.options) for name, alias in found.items() if alias}


ALIASES = _table()  # the commonest, for lists and suggestions; the grammar takes more
