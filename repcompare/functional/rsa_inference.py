"""Inference on models of RDMs: scores, noise ceilings, variances over stimuli and subjects, tests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from threadpoolctl import threadpool_limits

from repcompare.errors import OptionError, choose
from repcompare.functional._rsa_sides import Study, as_sets, gathered
from repcompare.functional._rsa_times import at_time, over_times, permutation_tests, times_of
from repcompare.functional._rsa_uncertainty import (
    Observed,
    degrees_of_freedom,
    from_draws,
    from_subjects,
    inferences,
)
from repcompare.labels.inference import assemble_inference
from repcompare.measures.rsa._resampled import RESAMPLED, resample, stack_rdms
from repcompare.measures.rsa._resampled_bootstrap import (
    FACTORS,
    Bootstrap,
    bootstrap_fixed,
    joined,
    model_scores,
    subject_ceilings,
)
from repcompare.measures.rsa._resampled_folds import Problem, assign, bootstrap_folds, evaluate_folds
from repcompare.measures.rsa._resampled_permuted import permuted_scores
from repcompare.measures.rsa.crossvalidation import default_folds
from repcompare.statistics.resampling import permutations as stimulus_orders
from repcompare.statistics.two_factor import draw_counts, draw_uniform

Float64 = npt.NDArray[np.float64]
CROSS_VALIDATED = ("crossnobis", "poisson_cv")
N_ASSIGNMENTS = 2  # of stimuli and subjects to folds, in every bootstrap sample of fitted models
N_ASSIGNMENTS_OBSERVED = 10  # of all data
DISTINCT = 1 - np.exp(-1)  # share of distinct stimuli that a draw with replacement is expected to have


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for, checked."""

    method: str
    bootstrap: str | None
    n_bootstraps: int
    permutations: int
    confidence: float
    seed: int
    samples: bool
    n_jobs: int

    def __post_init__(self) -> None:
        choose(self.method, RESAMPLED, "method")
        choose(self.bootstrap, (*FACTORS, None), "bootstrap")
        least = {"n_bootstraps": 2, "permutations": 0, "seed": 0, "n_jobs": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
                raise OptionError(f"{name}={value!r}; expected a whole number, at least {low}")
        if not 0 < self.confidence < 1:
            raise OptionError(f"confidence={self.confidence!r}; expected a number between 0 and 1, such as 0.95")
        if self.samples and self.bootstrap is None:
            raise OptionError("samples=True without a bootstrap; take bootstrap='stimuli_and_subjects'")


def rsa_inference(
    models: Any,
    data: Any,
    *,
    method: str = "rho_a",
    bootstrap: str | None = "stimuli_and_subjects",
    n_bootstraps: int = 1000,
    permutations: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
    samples: bool = False,
    stimuli: str = "exact",
    nan: str = "raise",
    distance: str = "correlation",
    stimulus_covariance: npt.ArrayLike | None = None,
    n_jobs: int = 1,
) -> xr.Dataset:
    """Score models of RDMs on the RDMs of several subjects, and say what can be believed of the scores.

    Parameters
    ----------
    models : set of RDMs, mapping, tree, sequence, or array-like of shape (n_models, n_pairs)
        A set (dims ``rdm``, ``pair``): each RDM is a model.  A mapping, tree or sequence: RDMs, representations, or models
        of ``rc.rdm_models``.  Fitted models are cross-validated inside every bootstrap sample, and then all models are
        scored on the same held-out pairs.
    data : set of RDMs, mapping, tree or sequence of RDMs or representations, or array-like of shape (n_subjects, n_pairs)
        One RDM, or representation, per subject.  With a time axis (of all of them): one inference per time, with the same
        draws and permutations.
    method : str
        ``"rho_a"``, ``"spearman"``, ``"pearson"``, ``"cosine"``, ``"whitened_cosine"``, ``"whitened_pearson"``,
        ``"kendall_tau_a"``, ``"kendall_tau_b"``; see :func:`repcompare.compare_rdms`.
    bootstrap : {"stimuli_and_subjects", "stimuli", "subjects", None}
        What the results shall generalise to.  None: these stimuli, new subjects, by the spread over subjects.
    n_bootstraps : int
    permutations : int
        Permutations of stimuli (rows and columns of the models together, one permutation for all models and subjects)
        for ``pvalue_permutation``; 99 or more to reach 0.01.
    confidence : float
        Of ``score_low``, ``score_high``.
    seed : int
        Of draws, permutations and folds.
    samples : bool
        Keep the scores of every bootstrap sample.
    stimuli : {"exact", "intersection"}
        Demand the same stimuli everywhere, or keep the shared ones.  Alignment is by name.
    nan : {"raise", "common"}
        ``"common"`` leaves out the pairs that any RDM (or component of a fitted model) lacks, of all RDMs (not for whitened
        methods or permutations).
    distance : str
        Of the RDMs of representations; see :func:`repcompare.rdm`.
    stimulus_covariance : array-like, shape (n_stimuli,) or (n_stimuli, n_stimuli), optional
        Noise of the stimuli for the whitened methods, in the order of the data.  Of a matrix the diagonal is used: a
        covariance is not defined for a stimulus that is drawn twice.
    n_jobs : int
        Threads.

    Returns
    -------
    xarray.Dataset
        ``score (model)``: mean over subjects; ``score_subject (model, subject)``; ``score_ceiling_lower/upper``: mean score
        of each subject with the pool of the others / of all; ``score_variance`` (for two factors the corrected variance),
        ``variance_stimuli``, ``variance_subjects``, ``variance_both`` (raw), ``score_low``, ``score_high``, ``dof``;
        ``pvalue_zero`` (greater), ``pvalue_ceiling`` (less than the lower ceiling), ``pvalue_pair (model, model_b)``
        (two-sided), each with Holm and Benjamini-Hochberg forms over models (pairs of models), at each time alone;
        ``pvalue_permutation`` with its max-statistic (``_corrected``) over models and times; all with ``time`` where the
        data have it; ``theta (model, fold, parameter)``; ``n_samples_used``, ``n_samples_dropped``.  What cannot be had is
        not there: ceilings with one subject, the test against 0 for cosines of distances that are not cross-validated (zero
        is not chance there; take ``permutations=``).  attrs: options, sides of the tests, ``corrected_over``,
        ``maximum_over``, ``warnings``.

    Raises
    ------
    AlignmentError, SchemaError
        When stimuli do not match, or something is no RDM.
    MeasureError
        On missing pairs, constant RDMs, one subject where subjects are drawn, or too few stimuli.
    OptionError
        On an option that is not on the menu; ``"bures"`` and ``"riemannian"`` have no resampled form.

    Notes
    -----
    Pairs of copies of one stimulus are left out of bootstrap samples; samples with fewer than 3 distinct stimuli, or on
    which an RDM is constant, are dropped and counted.  With variances v_s, v_p, v_d when S subjects, K stimuli or both are
    drawn: ``S/(S-1) v_s + K/(K-1) v_p - SK/((S-1)(K-1)) (v_d - v_s - v_p)``, at least either of the first two terms, at
    most v_d; for fitted models each variance is extrapolated to infinitely many assignments to folds.  t-tests have
    min(S, K) - 1 degrees of freedom.  To correct over times take ``permutations=`` and ``pvalue_permutation_corrected``;
    the p-values of the bootstrap have no joint distribution over times.

    A sample takes about 1 ms for fixed models (92 stimuli, 20 subjects), tens of ms for fitted ones; for
    ``rdm_models.reweighted`` with 100 features about 50 ms with one ``penalty``, 200 ms where folds choose among 13.

    References
    ----------
    Schuett, Kipnis, Diedrichsen & Kriegeskorte 2023, eLife 12:e82566; Nili et al. 2014; Storrs et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> truth, other = rng.random((2, 190))  # RDMs of 20 stimuli
    >>> data = truth + 0.5 * rng.random((8, 190))
    >>> found = rc.rsa_inference({"truth": truth, "other": other}, data, n_bootstraps=100)
    >>> bool(found["pvalue_pair"].sel(model="truth", model_b="other") < 0.01)
    True
    """
    options = Options(
        method=method,
        bootstrap=bootstrap,
        n_bootstraps=n_bootstraps,
        permutations=permutations,
        confidence=confidence,
        seed=seed,
        samples=samples,
        n_jobs=n_jobs,
    )
    data = as_sets(data, distance)
    times, found, nulls = times_of(data), [], []
    for one in [data] if times is None else [at_time(data, t) for t in range(len(times))]:
        study = gathered(models, one, distance=distance, stimuli=stimuli)
        study.check(options, nan, stimulus_covariance)
        # many small products: more threads of BLAS slow them, and sums in another order are other sums
        with threadpool_limits(1, user_api="blas") if bootstrap else nullcontext():
            result, null = _infer(study, options, study.variances(stimulus_covariance))
        found.append(result)
        nulls.append(null)
    return found[0] if times is None else over_times(found, nulls, times)


def _infer(study: Study, options: Options, variances: Float64 | None) -> tuple[xr.Dataset, Float64]:
    """Return the result of a checked study, and the scores of permuted models (n_permutations, n_models)."""
    run = _fitted(study, options, variances) if study.flexible else _fixed(study, options, variances)
    observed, draws, theta = run
    zero = "cosine" not in options.method or study.distance in CROSS_VALIDATED
    dof = degrees_of_freedom(options.bootstrap, observed.sizes)
    values: dict[str, Any] = {"score": observed.score, "score_subject": observed.table, "theta": theta}
    if observed.has_ceiling:
        values |= {"score_ceiling_lower": observed.lower.mean(), "score_ceiling_upper": observed.upper.mean()}
    found = from_draws(observed, draws, options.bootstrap) if options.bootstrap else from_subjects(observed)
    if found:
        values |= inferences(observed, found, dof, zero=zero, confidence=options.confidence)
    if options.samples and options.bootstrap:
        values |= _samples(draws[options.bootstrap], observed.has_ceiling)
    null = np.zeros((0, len(study.names)))
    if options.permutations:
        null = _permuted(study, options, variances)
        values |= permutation_tests(observed.score, null)
    return assemble_inference(values, study.names, study.subjects, study.record(options, found, zero=zero)), null


def _fixed(
    study: Study, options: Options, variances: Float64 | None
) -> tuple[Observed, dict[str, Bootstrap], Float64 | None]:
    """Score models that are not fitted."""
    n = len(study.names)
    stack = stack_rdms(np.concatenate([study.rows, study.data]), options.method, variances)
    full = resample(stack, np.ones(study.k))
    once = np.ones(len(study.data), dtype=np.int64)
    observed = Observed(model_scores(full, n, once.size), *subject_ceilings(full, n, once), study.k)
    if options.bootstrap is None:
        return observed, {}, None
    c, b = _draws(study, options)
    factors = FACTORS[options.bootstrap]
    return observed, _chunked(lambda rows: bootstrap_fixed(stack, n, c[rows], b[rows], factors), options), None


def _fitted(
    study: Study, options: Options, variances: Float64 | None
) -> tuple[Observed, dict[str, Bootstrap], Float64 | None]:
    """Score models, some of them fitted, on held-out pairs and subjects."""
    k, s = study.k, len(study.data)
    drawn = FACTORS[options.bootstrap][0] if options.bootstrap else ""
    expected = int(DISTINCT * k) if "stimuli" in drawn else k, max(1, int(DISTINCT * s)) if "subjects" in drawn else s
    folds = default_folds(*expected)
    n_folds = folds[0], min(s, max(2, folds[1])) if s > 1 else 1
    study.check_folds(expected[0] - -(-expected[0] // n_folds[0]))
    models = tuple(study.models)
    problem = Problem(models=models, data=study.data, method=options.method, variances=variances, n_folds=n_folds)
    once = np.ones(k, dtype=np.int64), np.ones(s, dtype=np.int64)

    def keys(name: str, count: int, each: int) -> tuple[Float64, Float64]:
        one, two = (draw_uniform(n * each, count, options.seed, f"{name}/{i}") for i, n in enumerate((k, s)))
        return one.reshape(count, each, k), two.reshape(count, each, s)

    found = []
    for one, two in zip(*(part[0] for part in keys("folds", 1, N_ASSIGNMENTS_OBSERVED)), strict=True):
        who = once[1], assign(two, once[1], n_folds[1])
        found += evaluate_folds(problem, once[0], assign(one, once[0], n_folds[0]), [who])
    means = [np.mean([getattr(one, name) for one in found], axis=0) for name in ("table", "lower", "upper")]
    observed = Observed(means[0], means[1], means[2], k)
    study.check_scored(observed.table)
    theta = np.full((len(models), sum(len(one.theta[0]) for one in found), max(m.n_parameters for m in models)), np.nan)
    for m, model in enumerate(models):
        theta[m, :, : model.n_parameters] = np.concatenate([np.array(one.theta[m]) for one in found])
    if options.bootstrap is None:
        return observed, {}, theta
    draws, factors = _draws(study, options), FACTORS[options.bootstrap]
    orders = keys("folds of samples", options.n_bootstraps, N_ASSIGNMENTS)

    def chunk(rows: slice) -> dict[str, Bootstrap]:
        return bootstrap_folds(problem, (draws[0][rows], draws[1][rows]), (orders[0][rows], orders[1][rows]), factors)

    return observed, _chunked(chunk, options), theta


def _draws(study: Study, options: Options) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return counts of stimuli and of subjects in every sample."""
    return (
        draw_counts(study.k, options.n_bootstraps, options.seed, "stimuli"),
        draw_counts(len(study.data), options.n_bootstraps, options.seed, "subjects"),
    )


def _chunked(work: Callable[[slice], dict[str, Bootstrap]], options: Options) -> dict[str, Bootstrap]:
    """Do the samples in threads; every sample has its own draw, so that how they are shared out changes nothing."""
    if options.n_jobs == 1:
        return work(slice(0, options.n_bootstraps))
    size = max(1, -(-options.n_bootstraps // (4 * options.n_jobs)))
    chunks = [slice(start, start + size) for start in range(0, options.n_bootstraps, size)]
    with ThreadPoolExecutor(options.n_jobs) as pool:
        return joined(list(pool.map(work, chunks)))


def _samples(drawn: Bootstrap, ceiling: bool) -> dict[str, Float64]:
    """Return the bootstrap samples, means over assignments to folds."""
    out = {"score_samples": drawn.score.mean(axis=1)}
    if ceiling:
        out |= {f"score_ceiling_{n}_samples": getattr(drawn, n).mean(axis=1) for n in ("lower", "upper")}
    return out


def _permuted(study: Study, options: Options, variances: Float64 | None) -> Float64:
    """Return the scores (n_permutations, n_models) of models with permuted stimuli."""
    stack = stack_rdms(np.concatenate([study.rows, study.data]), options.method, variances)
    orders = np.array(stimulus_orders(study.k, options.permutations, options.seed))
    return np.asarray(permuted_scores(stack, len(study.names), orders))
