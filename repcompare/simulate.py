"""Simulated brains and models with known ground truth, for tests, tutorials and the demo without data."""

from __future__ import annotations

import numpy as np
import xarray as xr

from repcompare.errors import OptionError
from repcompare.labels.schema import representation


def brain_and_models(
    *,
    n_stimuli: int = 120,
    n_units: int = 60,
    n_latents: int = 12,
    repeats: int = 4,
    snr: float = 0.5,
    seed: int = 0,
) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """Simulate a brain that is recorded with noise, and models that share all, half or none of what drives it.

    Parameters
    ----------
    n_stimuli, n_units, n_latents : int
        Sizes; stimuli come in pairs of one category that share half of their variance.
    repeats : int
        Presentations of each stimulus.
    snr : float
        Variance of the signal over that of the noise of one presentation.
    seed : int
        Of everything random.

    Returns
    -------
    brain : xarray.Dataset
        Presentation form, with ``stimulus_category`` and ``repeat``.
    models : dict of str to xarray.Dataset
        ``shares_all``, ``shares_half``, ``shares_none``: random linear readouts of the latents.

    Raises
    ------
    OptionError
        When a size is not positive.

    Examples
    --------
    >>> brain, models = brain_and_models(n_stimuli=10, repeats=2)
    >>> brain.sizes["presentation"], list(models)
    (20, ['shares_all', 'shares_half', 'shares_none'])
    """
    if min(n_stimuli, n_units, n_latents, repeats) < 1 or snr <= 0:
        raise OptionError("sizes, repeats and snr must be positive")
    rng = np.random.default_rng(seed)
    category = np.arange(n_stimuli) // 2
    own = _latents(rng, category, n_latents)
    other = _latents(rng, rng.permutation(category), n_latents)  # other pairs, or the categories alone would be shared
    signal = _readout(rng, own, n_units)
    noise = rng.normal(size=(repeats, n_stimuli, n_units)) / np.sqrt(snr)
    names = np.array([f"stimulus{i:03d}" for i in range(n_stimuli)])
    labels = np.array([f"category{c:02d}" for c in category])
    brain = representation(
        (signal + noise).reshape(-1, n_units),
        dims=("presentation", "unit"),
        attrs={"modality": "simulated", "response_units": "sd", "source": f"simulated, seed {seed}"},
        stimulus_id=np.tile(names, repeats),
        stimulus_category=np.tile(labels, repeats),
        repeat=np.repeat(np.arange(repeats), n_stimuli),
    )
    half = np.concatenate([own[:, : n_latents // 2], other[:, n_latents // 2 :]], axis=1)
    models = {"shares_all": own, "shares_half": half, "shares_none": other}
    return brain, {
        name: representation(
            _readout(rng, latents, 2 * n_units),
            attrs={"modality": "simulated"},
            stimulus=names,
            stimulus_category=labels,
        )
        for name, latents in models.items()
    }


def _latents(rng: np.random.Generator, category: np.ndarray, n_latents: int) -> np.ndarray:
    shared = rng.normal(size=(category.max() + 1, n_latents))[category]
    mixed: np.ndarray = (shared + rng.normal(size=shared.shape)) / np.sqrt(2)
    return mixed


def _readout(rng: np.random.Generator, latents: np.ndarray, n_units: int) -> np.ndarray:
    responses: np.ndarray = latents @ rng.normal(size=(latents.shape[1], n_units)) / np.sqrt(latents.shape[1])
    return responses
