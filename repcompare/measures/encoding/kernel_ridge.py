"""Ridge regression in the feature space of a kernel, scored on held-out stimuli."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._measure import Array, Folds, Index, Measure
from repcompare.measures.encoding._banded_options import Options, make_options, named_options
from repcompare.measures.encoding._banded_problem import Wide, linear_kernel, plan_of
from repcompare.measures.encoding._held_out import centred_source
from repcompare.measures.encoding._options import ALPHAS
from repcompare.measures.encoding.banded import Source, encoder
from repcompare.measures.encoding.delays import Lags

Double = npt.NDArray[np.float64]

KERNELS = ("linear", "rbf", "polynomial", "precomputed")
ASYMMETRY = 1e-8
NEGATIVE = 1e-8


@dataclass(frozen=True)
class Kernel:
    """A kernel and its parameters; see :func:`kernel_ridge`."""

    name: str = "linear"
    bandwidth: float | Literal["median"] = "median"
    bandwidth_scale: Literal["median", "absolute"] = "median"
    degree: int = 3
    coef0: float = 1.0
    gamma: float | Literal["scale"] = "scale"

    def __post_init__(self) -> None:
        choose(self.name, KERNELS, "kernel")
        choose(self.bandwidth_scale, ("median", "absolute"), "bandwidth_scale")
        for what, value, word in (("bandwidth", self.bandwidth, "median"), ("gamma", self.gamma, "scale")):
            if value != word and not (isinstance(value, (int, float)) and 0 < value < np.inf):
                raise OptionError(f"{what}={value!r}; expected {word!r} or a number > 0")
        if self.bandwidth == "median" and self.bandwidth_scale == "absolute":
            raise OptionError("bandwidth_scale='absolute' needs a number; give bandwidth= in response units")
        if not (isinstance(self.degree, (int, np.integer)) and self.degree >= 1):
            raise OptionError(f"degree={self.degree!r}; expected a whole number >= 1")
        if not 0 <= self.coef0 < np.inf:
            raise OptionError(f"coef0={self.coef0!r}; expected a number >= 0, so that the kernel is positive")

    @property
    def invariant(self) -> frozenset[str]:
        """What may be done to a source."""
        if self.name == "precomputed":
            return frozenset()
        fixed = frozenset({"rotation", "translation", "permutation"})
        relative = (self.name == "rbf" and self.bandwidth_scale == "median") or (
            self.name == "polynomial" and self.gamma == "scale"
        )
        return fixed | (frozenset({"scaling", "duplication"}) if relative else frozenset())

    @property
    def named(self) -> dict[str, Any]:
        """What the label of the measure shows."""
        own = {"rbf": ("bandwidth", "bandwidth_scale"), "polynomial": ("degree", "coef0", "gamma")}
        return {"kernel": self.name} | {k: getattr(self, k) for k in own.get(self.name, ())}


def kernel_ridge(
    kernel: Literal["linear", "rbf", "polynomial", "precomputed"] = "linear",
    *,
    alphas: npt.ArrayLike = ALPHAS,
    **options: Any,
) -> Measure:
    """Held-out predictivity of every target unit by kernel ridge regression.

    Parameters
    ----------
    kernel : {"linear", "rbf", "polynomial", "precomputed"}
        Inner products of rows about the training mean (which is ridge); ``exp(-d^2 / (2 sigma^2))`` of distances d;
        ``(gamma <x, x'> + coef0)^degree`` of rows about the training mean; or the source is a kernel of all rows
        (n_stimuli, n_stimuli), symmetric and positive semidefinite.
    alphas : array-like of shape (n_alphas,)
        Penalties, > 0.
    **options
        Of the kernel: ``bandwidth="median" | float``, sigma as the median distance between training rows, or that times
        a factor (``bandwidth_scale="absolute"``: the number itself); ``degree=3``, ``coef0=1.0``, ``gamma="scale" |
        float`` (1 over the mean squared norm of the training rows).  Of all encoders: ``scoring``, ``summary``,
        ``nested``, ``shared`` (or ``alpha_per_unit``), ``one_se``, ``select_by``, ``fisher_z``, ``delays``, ``hrf``,
        ``runs``, and of the linear kernel ``alpha_scale``, as in
        :func:`repcompare.measures.encoding.banded.banded_ridge`.

    Returns
    -------
    Measure
        As ridge; the feature space is centred by the training rows, so there is an unpenalised intercept.

    Raises
    ------
    OptionError
        For an unknown option or value.

    References
    ----------
    Saunders, Gammerman & Vovk 1998, ICML.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((80, 2))
    >>> y = np.sin(2 * x) + 0.1 * rng.standard_normal((80, 2))
    >>> rows = np.arange(80)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 80)
    >>> for kernel in ("linear", "rbf"):
    ...     measure = kernel_ridge(kernel)
    ...     state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    ...     print(round(measure.compare(state, target).score, 1))
    0.5
    1.0
    """
    own = {k: options.pop(k) for k in ("bandwidth", "bandwidth_scale", "degree", "coef0", "gamma") if k in options}
    how = Kernel(kernel, **own)
    found = make_options("kernel_ridge", alphas, options)
    if found.alpha_scale == "trace" and kernel != "linear":
        raise OptionError(
            f"alpha_scale='trace' is per feature, and kernel={kernel!r} does not say how many it has; give absolute alphas"
        )
    moved = frozenset({"translation"}) if found.lags is not None and kernel == "linear" else frozenset()
    named = {**how.named, **named_options(found)}
    return encoder(found, partial(_prepare, found, how), named, how.invariant - moved, "saunders1998")


def _prepare(options: Options, how: Kernel, x: Array, folds: Folds) -> Source:
    options.check(folds, 1)
    plan, lags = plan_of(folds, options.searches_inside(1), options.model), options.lags_of(folds)
    base = _base(how, x, lags)
    if how.name in ("linear", "precomputed"):
        kernel = base if lags is None else lags.kernel(base)
        n_features = x.shape[1] * (1 if lags is None else len(lags.basis))
        notes = () if lags is None or how.name != "linear" else lags.notes(x)
        return Source(Wide((kernel,), None, plan, n_features), folds, ("all",), notes)
    make = _rbf if how.name == "rbf" else _polynomial
    return Source(Wide((base,), partial(_transform, make, how, lags), plan), folds, ("all",))


def _base(how: Kernel, x: Array, lags: Lags | None) -> Double:
    """Return inner products (n, n), or squared distances for the rbf kernel."""
    if how.name == "precomputed":
        return checked_kernel(x)
    values = centred_source(x, "kernel_ridge")
    if how.name == "linear" and lags is not None:
        return linear_kernel(x.astype(np.float64))  # rows before a run are 0 in the user's own units
    inner = linear_kernel(values)
    if how.name != "rbf":
        return inner
    norms = inner.diagonal()
    found = np.maximum(norms + norms[:, None] - 2 * inner, 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def checked_kernel(x: Array) -> Double:
    """Return a kernel (n, n) in float64, exactly symmetric.

    Raises
    ------
    MeasureError
        Unless it is square, symmetric and positive semidefinite, up to rounding.

    Examples
    --------
    >>> checked_kernel(np.array([[1.0, 2.0], [2.0, 1.0]]))
    Traceback (most recent call last):
    repcompare.errors.MeasureError: the kernel has the eigenvalue -1; expected none below 0; ...
    """
    n = len(x)
    if x.shape != (n, n):
        raise MeasureError(f"kernel='precomputed': the source has shape {x.shape}; expected ({n}, {n})")
    kernel = x.astype(np.float64)
    size = float(np.abs(kernel).max())
    eps = float(np.finfo(x.dtype).eps) if np.issubdtype(x.dtype, np.floating) else 0.0
    if np.abs(kernel - kernel.T).max() > max(ASYMMETRY, 8 * eps) * size:
        raise MeasureError("the kernel is not symmetric; expected inner products of the rows with each other")
    kernel = (kernel + kernel.T) / 2
    lam = np.linalg.eigvalsh(kernel)
    if lam[0] < -max(NEGATIVE, n * eps) * max(lam[-1], size):
        raise MeasureError(
            f"the kernel has the eigenvalue {lam[0]:.3g}; expected none below 0; a matrix of distances is not a kernel"
        )
    return kernel


def _transform(make: Any, how: Kernel, lags: Lags | None, base: Double, train: Index) -> Double:
    kernel: Double = make(how, base, train)
    return kernel if lags is None else lags.kernel(kernel)


def _rbf(how: Kernel, squared: Double, train: Index) -> Double:
    sigma = 1.0 if how.bandwidth == "median" else float(how.bandwidth)
    if how.bandwidth_scale == "median":
        inside = squared[train[:, None], train][np.triu_indices(train.size, 1)]
        median = float(np.sqrt(np.median(inside)))
        if median == 0:
            raise MeasureError(
                "kernel_ridge: the median distance is 0: most training rows are equal; give bandwidth= in response units "
                "with bandwidth_scale='absolute'"
            )
        sigma *= median
    return np.asarray(np.exp(squared / (-2 * sigma**2)))


def _polynomial(how: Kernel, inner: Double, train: Index) -> Double:
    row = inner[:, train].mean(axis=1)
    about = inner - row - row[:, None] + row[train].mean()
    if how.gamma == "scale":
        size = float(about.diagonal()[train].mean())
        if size <= 0:
            raise MeasureError("kernel_ridge: the training rows of a fold are all equal; check the source")
        about /= size
    else:
        about *= how.gamma
    return np.asarray((about + how.coef0) ** how.degree)
