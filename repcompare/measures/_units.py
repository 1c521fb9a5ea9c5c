"""Single units as standardised columns: what measures of correlation between units prepare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.units import largest_sizes, to_unit_length
from repcompare.measures._linalg import Float64, centre64, fold_parts, input_eps, require_variance
from repcompare.measures._measure import Array, Folds, Index


@dataclass(frozen=True)
class Units:
    """One fold of one source: the units that vary, as columns of norm 1 on training (n_train, p) and test rows.

    ``places`` (p,) are their positions among the source's units, ``dropped`` how many do not vary.  A unit that varies
    over the training but not over the test stimuli has a test column of zeros.
    """

    train: Float64
    test: Float64
    places: Index
    dropped: int


State = tuple[Units, ...]


def standardised(values: Array) -> State:
    """Return the state of a measure in sample: the columns of (n_stimuli, n_units) that vary, with norm 1."""
    units = centre64(values)
    alive = _unit_norm(units, _rounding(values))
    units = units if alive.all() else np.ascontiguousarray(units[:, alive])
    return (_units(units, units, alive),)


def standardised_parts(values: Array, folds: Folds) -> State:
    """Return the state of a held-out measure: units that vary over training stimuli, each part with norm 1."""
    found = []
    for (train, test), (rows, _) in zip(fold_parts(values, folds), folds.splits, strict=True):
        if len(test) < 2:
            raise MeasureError(f"{len(test)} test stimuli in a fold; a correlation needs at least 2; use fewer folds")
        if len(train) < 3:  # every correlation over two stimuli is 1 or -1: any matching is as good
            raise MeasureError(f"{len(train)} training stimuli in a fold; a matching needs at least 3; add stimuli")
        noise = _rounding(values[rows])
        tested = test - test.mean(axis=0)
        alive = _unit_norm(train, noise)
        _unit_norm(tested, noise)
        found.append(_units(train[:, alive], tested[:, alive], alive))
    return tuple(found)


def _units(train: Float64, test: Float64, alive: npt.NDArray[np.bool_]) -> Units:
    if not alive.any():
        require_variance(0.0, "unit matching")
    return Units(train, test, np.flatnonzero(alive), int((~alive).sum()))


def _rounding(values: Array) -> Float64:
    """Standard deviation (n_units,) that rounding alone may give a constant unit: the input's precision at its size."""
    size = np.empty(values.shape[1])
    largest_sizes(np.ascontiguousarray(values), size)
    size *= input_eps(values)
    return size


def _unit_norm(centred: Float64, rounding: Float64) -> npt.NDArray[np.bool_]:
    """Divide columns by their norms, in place, those to zero where only rounding varies; return which vary."""
    alive = np.empty(centred.shape[1], dtype=np.bool_)
    to_unit_length(centred, rounding * np.sqrt(len(centred)), alive)
    return alive


def restrict(state: State, rows: Index) -> State:
    """Return the state of some stimuli, or of another order of them; units that no longer vary are dropped."""
    units = state[0].train[rows]
    (again,) = standardised(units)
    return (Units(again.train, again.test, state[0].places[again.places], state[0].dropped + again.dropped),)


def haar(width: int, rng: np.random.Generator) -> Float64:
    """Draw an orthogonal matrix (width, width) from the Haar measure."""
    q, r = np.linalg.qr(rng.normal(size=(width, width)))
    orthogonal: Float64 = q * np.sign(np.diag(r))
    return orthogonal
