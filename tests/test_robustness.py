"""Awkward data, one audit over every measure on the menu in every form: the right number, or an error that says what to do.

What is right follows from the clean data: a declared invariance, a relation (duplicated units are the same units times
the root of two), or a formula written out here.  Never NaN, a warning, or an exception of another kind.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import registry
from repcompare.measures.encoding.banded import DELAYS
from repcompare.measures.encoding.delays import delay_features
from repcompare.measures.encoding.ridge import ALPHAS
from tests import naive, naive_alignment_cca, naive_matching, naive_neighbours, naive_rsa_noise
from tests.test_laws import CASES, folds, ids, in_time, pair, score

NEXT_STEP = re.compile(
    r"expected|; (use|add|drop|take|keep|give|check|average|cross|needs)\b|needs at least|or take|nan='", re.IGNORECASE
)
# decoders have an audit of their own, test_decode_measures.py
CASES = [case for case in CASES if registry.make(case[0], **case[1]).target_holds != "labels"]
every_form = pytest.mark.parametrize("case", CASES, ids=ids)


def made(case, **changed):
    return registry.make(case[0], **{**case[1], **changed})


def invariant(measure, name):
    """On both sides."""
    target = measure.invariant_to if measure.target_invariant_to is None else measure.target_invariant_to
    return name in measure.invariant_to and name in target


def drawn(x, measure=None):
    n = x.shape[-2]
    if measure is not None and measure.reach:
        return in_time(n, measure.reach)
    return folds(n, min(5, n // 2))


def value(measure, x, y):
    """Score, or the text of a refusal that says what to do."""
    try:
        found = score(measure, x, y, drawn(x, measure))
    except (MeasureError, OptionError) as error:
        assert NEXT_STEP.search(str(error)), f"no next step in: {error}"
        return str(error)
    assert np.isfinite(found)
    return found


def same(found, expected, rel=1e-9, **tolerance):
    assert not isinstance(found, str), found
    assert found == pytest.approx(expected, rel=rel, **({"abs": rel} | tolerance))


# Formulas of the measures of single units, by assignment and by grains (units cut into equal parts).


def z(v):
    """Columns that vary, with norm 1."""
    v = v - v.mean(0)
    norms = np.linalg.norm(v, axis=0)
    return v[:, norms > 1e-9 * norms.max()] / norms[norms > 1e-9 * norms.max()]


def grains(weights):
    """Pairs of units of the best transport, with repeats for their mass."""
    p, q = weights.shape
    count = np.lcm(p, q)
    fine = np.repeat(np.repeat(weights, count // p, axis=0), count // q, axis=1)
    rows, columns = linear_sum_assignment(fine, maximize=True)
    return rows * p // count, columns * q // count


def chosen(name, weights, symmetric=False):
    """Units that are compared: pairs (rows, columns) that the mean runs over, per direction."""
    p, q = weights.shape
    if name == "soft_match":
        return [grains(weights)]
    if name == "one_to_one":
        return [linear_sum_assignment(weights, maximize=True)]
    forward = (weights.argmax(axis=0), np.arange(q))
    return [forward, (np.arange(p), weights.argmax(axis=1))] if symmetric else [forward]


def correlation_matching(name, options, x, y, splits):
    found = []
    for train, test in splits:
        fitted = z(x[train]).T @ z(y[train])
        tested = z(x[test]).T @ z(y[test])
        found.append(np.mean([tested[pairs].mean() for pairs in chosen(name, fitted, options.get("symmetric", False))]))
    return np.mean(found)


def grouped_cosine(group, x, y, splits):
    found = []
    for train, test in splits:
        (a, c), (b, d) = ((v[train] - v[train].mean(0), v[test] - v[train].mean(0)) for v in (x, y))
        rows, columns = linear_sum_assignment(a.T @ b, maximize=True) if group == "permutation" else grains(a.T @ b)
        mass = {"permutation": 1.0, "soft": np.sqrt(x.shape[1] * y.shape[1]) / len(rows)}[group]
        found.append(mass * (c.T @ d)[rows, columns].sum() / np.linalg.norm(c) / np.linalg.norm(d))
    return np.mean(found)


def soft_euclidean(x, y, splits):
    found = []
    for train, test in splits:
        (a, c), (b, d) = ((v[train] - v[train].mean(0), v[test] - v[train].mean(0)) for v in (x, y))
        near = np.square(a[:, :, None] - b[:, None]).sum(0)
        found.append(np.sqrt(np.square(c[:, :, None] - d[:, None]).sum(0)[grains(-near)].mean()))
    return np.mean(found)


def bures(first, second):
    """Fidelity of the second moments that squared distances have, over the root of their traces."""
    centring = np.eye(len(squareform(first))) - 1 / len(squareform(first))
    roots = []
    for d in (first, second):
        values, vectors = np.linalg.eigh(-centring @ squareform(d) @ centring / 2)
        values = np.where(values > 1e-10 * values.max(), values, 0)
        roots.append(vectors * np.sqrt(values / values.sum()))
    return np.linalg.norm(roots[0].T @ roots[1], "nuc")


def by_score(cosine, form):
    return {"angular": np.arccos, "euclidean": lambda c: np.sqrt(2 - 2 * c), "similarity": float}[form](cosine)


def crossnobis_by_hand(repeats, noise):
    """Loops over repeats; covariance of what stimulus and repeat leave over (Schaefer & Strimmer 2005)."""
    n_repeats, n, p = repeats.shape
    rows = repeats.reshape(-1, p)
    stimulus, partition = np.tile(np.arange(n), n_repeats).tolist(), np.repeat(np.arange(n_repeats), n).tolist()
    left, rank = naive_rsa_noise.residuals(rows, stimulus, partition)
    covariance = left.T @ left / (len(rows) - rank)
    share = 1.0 if noise == "diag" else naive_rsa_noise.schaefer_strimmer(left)
    shrunk = share * np.diag(np.diag(covariance)) + (1 - share) * covariance
    return naive_rsa_noise.crossnobis(rows, stimulus, partition, np.linalg.inv(shrunk))


def formula(case, x, y):
    """The definition, for measures that no rotation leaves as they are (or that a floor under eigenvalues keeps from it)."""
    name, options = case
    n = len(x)
    if options.get("convention") == "netrep":
        return naive_matching.netrep_distance(x, y, options["alpha"], options.get("score", "angular"))
    splits = drawn(x).splits if options.get("held_out") else [(np.arange(n), np.arange(n))]
    if name == "rsa" and options.get("distance") == "crossnobis":
        rdms = [crossnobis_by_hand(v, options["noise"]) for v in (x, y)]
        return scipy.stats.spearmanr(*rdms).statistic  # nothing is tied
    if name == "rsa":
        first, second = pdist(x, "correlation"), pdist(y, "correlation")
        if options.get("method") == "bures":
            return bures(first, second)
        others = {"pearson": scipy.stats.pearsonr, "kendall_tau_a": scipy.stats.kendalltau}
        return others.get(options.get("method"), scipy.stats.spearmanr)(first, second).statistic  # nothing is tied
    if name == "cka":
        return naive.cka_stimulus_and_unit(x, y)
    if name == "soft_match" and options.get("cost") == "euclidean":
        return soft_euclidean(x, y, splits)
    if name in ("soft_match", "one_to_one", "semi_match"):
        return correlation_matching(name, options, x, y, splits)
    if options.get("scale") is False:
        x, y = (v - v.mean(0) if options.get("centre", True) else v for v in (x, y))
        width = max(x.shape[1], y.shape[1])
        x, y = (np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (x, y))
        return np.linalg.norm(x[:, (pairs := linear_sum_assignment(x.T @ y, maximize=True))[0]] - y[:, pairs[1]])
    group = options.get("group", "permutation")
    cosines = [grouped_cosine(group, x, y, [split]) for split in splits]
    return np.mean([by_score(cosine, options.get("score", "angular")) for cosine in cosines])


def has_formula(case):
    name, options = case
    return (
        (
            name == "rsa"
            and "distance" not in options
            and options.get("method", "pearson") in ("pearson", "kendall_tau_a", "bures")
        )
        or (name == "cka" and options.get("estimator") == "stimulus_and_unit")
        or name in ("soft_match", "one_to_one", "semi_match", "permutation")
        or (name == "shape_distance" and ("group" in options or "convention" in options))
    )


@pytest.mark.parametrize("case", [case for case in CASES if has_formula(case)], ids=ids)
def test_the_formulas_here_are_the_measures(case):
    x, y = pair(made(case))
    same(score(made(case), x, y, drawn(x)), formula(case, x, y), rel=1e-10)


# Units of measurement.


def rescaled(case, c):
    """The measure that does with c x what ``case`` does with x, and the factor on its score; None where there is none."""
    name, options = case
    measure = made(case)
    if invariant(measure, "scaling"):
        return measure, 1.0
    if options.get("convention") == "netrep":  # adds lengths to pure numbers, by its definition
        return None
    if name in (
        "ridge",
        "banded_ridge",
        "kernel_ridge",
        "delayed_ridge",
    ):  # whose penalties are in squared units of the source
        return made(case, alphas=np.asarray(ALPHAS) * c**2), 1.0
    if "bandwidth" in options:
        return made(case, bandwidth=options["bandwidth"] * c), 1.0
    if name == "uniformity_difference":
        return made(case, t=options["t"] / c**2), 1.0
    assert measure.unit == "response"
    return measure, c ** (measure.options["exponent"] / 2 if name == "energy_shape" else 1)


@every_form
@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_units_of_measurement(case, c):
    measure = made(case)
    x, y = pair(measure)
    clean = score(measure, x, y)
    if case[0] == "poisson":  # counts have no other unit; penalties go with the squares of the source
        same(value(made(case, alphas=np.asarray(case[1]["alphas"]) * c**2), c * x, y), clean, rel=1e-6)
        assert "not counts" in value(measure, x, 0.1 * y)
        return
    if invariant(measure, "scaling"):
        for a, b in ((c * x, y), (x, c * y), (c * x, c * y)):
            same(value(measure, a, b), clean)
    elif (other := rescaled(case, c)) is not None:
        same(value(other[0], c * x, c * y) / other[1], clean)
    else:
        same(value(measure, c * x, c * y), formula(case, c * x, c * y), rel=1e-6)  # the oracle squares its data


# Offsets.


@every_form
def test_offset_of_ten_thousand(case, monkeypatch):
    measure = made(case)
    x, y = pair(measure)
    moved = x + 1e4, y if case[0] == "poisson" else y + 1e4  # the zero of counts means none
    narrow = [v.astype(np.float32) for v in moved]
    if case[0] == "poisson":
        same(value(measure, *moved), score(measure, x, y), rel=1e-6)
        same(value(measure, *narrow), score(measure, x, y), rel=1e-3)
        return
    if invariant(measure, "translation") or invariant(measure, "pattern_translation"):
        clean = score(measure, x, y)
        same(value(measure, *moved), clean)
        same(value(measure, *narrow), clean, rel=1e-3)
        return
    monkeypatch.setattr(naive_neighbours, "neighbours", partial(naive_neighbours.neighbours, digits=17))
    same(value(measure, *moved), uncentred(case, *moved), rel=1e-6)
    same(value(measure, *narrow), uncentred(case, *(v.astype(np.float64) for v in narrow)), rel=1e-3)


def uncentred(case, x, y):
    """The definition in extended precision, for measures that see where zero is."""
    name, options = case
    a, b = x.astype(np.longdouble), y.astype(np.longdouble)
    k = options.get("k", 10)
    if name == "rsa":
        first, second = ((1 - naive_neighbours.cosines(v))[np.triu_indices(len(v), 1)] for v in (a, b))
        return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))
    if name == "mutual_knn":
        found = float(naive_neighbours.mutual_knn(a, b, k))
        chance = k / (len(x) - 1)
        return (found - chance) / (1 - chance) if options.get("chance_corrected") else found
    if name in ("jaccard", "second_order_cosine", "cknna"):
        return float(getattr(naive_neighbours, name)(a, b, k))
    if name in ("magnitude_difference", "concentricity_difference"):
        describe = getattr(naive_neighbours, name.removesuffix("_difference"))
        return float(abs(describe(a) - describe(b)))
    if name == "permutation":
        return formula(case, x, y)
    if name == "delayed_ridge":  # what precedes the first row is 0, not the mean
        wide = delay_features(x, options.get("delays", DELAYS))
        return score(registry.make("ridge", scoring=options.get("scoring", "pearson")), wide, y, drawn(x, made(case)))
    if name == "eigenspace_overlap":
        return naive_alignment_cca.eigenspace_overlap(x, y)
    return naive_neighbours.aligned_cosine(x, y)


# Units that say nothing, or the same twice.


def with_dead(v, constant):
    return np.concatenate([v, np.full((*v.shape[:-1], 3), constant)], axis=-1)


@every_form
@pytest.mark.parametrize("side", [0, 1])
def test_dead_units(case, side):
    """Constant ones; silent ones where the measure sees where zero is."""
    measure = made(case)
    data = list(pair(measure))
    clean = score(measure, *data)
    data[side] = with_dead(data[side], 7.1 if invariant(measure, "translation") else 0.0)
    found = value(measure, *data)
    if case[1].get("noise") in ("diag", "shrinkage_diag"):  # divided by their noise, of which they have none
        assert "3 units have no noise variance" in found
        return
    if has_formula(case) and "unit_scaling" not in measure.invariant_to:  # their units count even when silent
        same(found, formula(case, *data))
    elif case[1].get("group") == "permutation":  # of trials: a unit may now be paired with a silent one
        assert found <= clean + 1e-9
    else:
        same(found, clean)
    narrow = [v.astype(np.float32) for v in data]  # a constant that is no binary fraction
    same(value(measure, *narrow), found, rel=1e-3)


@every_form
@pytest.mark.parametrize("side", [0, 1])
def test_duplicated_units(case, side):
    measure = made(case)
    x, y = pair(measure)
    data, plain = [x, y], [x, y]
    data[side] = np.concatenate([data[side]] * 2, axis=-1)
    declared = measure.invariant_to if side == 0 or measure.target_invariant_to is None else measure.target_invariant_to
    if "bands" in case[1]:  # the copies come into the last band: the same features, with the penalty of another
        assert value(measure, *data) > 0.3
    elif "duplication" in declared:
        same(value(measure, *data), score(measure, *plain))
    elif "rotation" in declared and not has_formula(case):  # [x, x] is sqrt(2) x in other axes
        plain[side] = np.sqrt(2) * plain[side]
        same(
            value(measure, *data),
            score(measure, *plain),
            rel=1e-6 if "stoch" in case[0] or "energy" in case[0] else 1e-9,
        )
    elif case[0] == "stochastic_shape":  # pairs of twins: the plan of the singles, twice
        doubled = [np.concatenate([v, v], axis=-1) for v in plain]
        assert value(measure, *doubled) <= np.sqrt(2) * score(made(case, n_restarts=20), *plain) * (1 + 0.05)
    else:
        same(value(measure, *data), formula(case, *data))


# Few stimuli.


def narrowed(v):
    """Coordinates in the space that the rows span: what no rotation can tell from v."""
    if v.ndim == 3:
        u, s, _ = np.linalg.svd(v.reshape(-1, v.shape[-1]), full_matrices=False)
        return (u * s).reshape(*v.shape[:2], -1)
    u, s, _ = np.linalg.svd(v, full_matrices=False)
    return u * s


@every_form
@pytest.mark.parametrize(("n", "p", "q"), [(20, 50, 40), (4, 9, 6), (4, 2, 1), (5, 1, 1), (7, 40, 3)])
def test_fewer_stimuli_than_units_and_four_stimuli(case, n, p, q):
    local = case[0] in ("stochastic_shape", "energy_shape")  # iterative, and its starts depend on the axes
    measure = made(case, n_restarts=20) if local else made(case)
    if local:
        n, p, q = min(n, 6), min(p, 8), min(q, 7)  # wide still, and quick
    x, y = pair(measure, n=n, p=p, q=q)
    found = value(measure, x, y)
    low, high = measure.score_range
    if isinstance(found, str):
        flipped = value(measure, 3 * x, y)
        assert isinstance(flipped, str)
        return
    assert low - 1e-12 <= found <= high + 1e-12
    if has_formula(case):
        if n > 5 or not measure.fitted:  # of two training stimuli every correlation is 1 or -1: any pairing is best
            same(found, formula(case, x, y), rel=1e-7)
        return
    targets = measure.invariant_to if measure.target_invariant_to is None else measure.target_invariant_to
    a = narrowed(x) if "rotation" in measure.invariant_to else x if "bands" in case[1] else x[..., ::-1]
    b = narrowed(y) if "rotation" in targets else y[..., ::-1]
    nipals = case[1].get("solver") == "nipals"  # starts from the first unit, and stops before it has converged
    same(value(measure, a, b), found, rel=0.05 if local else 1e-3 if nipals else 1e-7)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] in ("cka", "distance_correlation", "rsa")], ids=ids)
@pytest.mark.parametrize("offset", [0.0, 0.1, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stimuli_that_are_all_equally_far_apart(case, offset, dtype):
    """One-hot codes: what U-centring or a correlation of distances leaves is rounding, and no score."""
    measure = made(case)
    if measure.needs == "repeats":
        return  # noise on every trial: never equally far apart
    codes = (0.3 * np.eye(20) + offset).astype(dtype)
    found = value(measure, codes, pair(measure, n=20)[1].astype(dtype))
    centred = measure.options.get("estimator", "debiased" if measure.options.get("debiased") else "")
    if centred in ("debiased", "stimulus_and_unit"):
        assert isinstance(found, str) and "equally far apart" in found


def test_a_bandwidth_far_below_every_distance_leaves_nothing_to_compare():
    """All kernels are 0: U-centring takes the constant away, and rounding is no score."""
    measure = registry.make("cka", kernel="rbf", bandwidth=4.0, bandwidth_scale="absolute")
    x, y = pair(measure)
    for data in ((1e6 * x, 1e6 * y), (1e6 * x, y), (x, 1e6 * y)):
        assert "equally far apart" in value(measure, *data)
