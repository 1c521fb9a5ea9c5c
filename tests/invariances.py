"""What may be done to a system without changing it, for each name of the contract; x is (..., n_stimuli, n_units)."""

from __future__ import annotations

import numpy as np


def _orthogonal(rng, p):
    q, r = np.linalg.qr(rng.normal(size=(p, p)))
    return q * np.sign(np.diag(r))


def rotation(x, rng):
    return x @ _orthogonal(rng, x.shape[-1])


def scaling(x, rng):
    return x * rng.uniform(2, 5)


def translation(x, rng):
    return x + rng.normal(size=x.shape[-1]) * 5


def permutation(x, rng):
    return x[..., rng.permutation(x.shape[-1])]


def affine(x, rng):
    p = x.shape[-1]
    matrix = _orthogonal(rng, p) @ np.diag(rng.uniform(0.3, 3, size=p)) @ _orthogonal(rng, p)
    return x @ matrix + rng.normal(size=p)


def unit_scaling(x, rng):
    return x * rng.uniform(0.3, 3, size=x.shape[-1])


def pattern_scaling(x, rng):
    return x * rng.uniform(0.3, 3, size=(x.shape[-2], 1))


def pattern_translation(x, rng):
    return x + rng.normal(size=(x.shape[-2], 1)) * 2


def duplication(x, rng):
    return np.concatenate([x, x], axis=-1)


TRANSFORMS = {
    f.__name__: f
    for f in (
        rotation,
        scaling,
        translation,
        permutation,
        affine,
        unit_scaling,
        pattern_scaling,
        pattern_translation,
        duplication,
    )
}
