"""The schema of RSA inference: one labelled table of models, with what is known of each score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import SchemaError, some, suggest
from repcompare.labels.rules import broken_attrs
from repcompare.labels.values import duplicates

INFERENCE_SCHEMA = "repcompare-rsa-inference-1"
PARTITIONING_SCHEMA = "repcompare-variance-partitioning-1"
MAP_SCHEMA = "repcompare-rdm-map-1"
CEILING_SCHEMA = "repcompare-rdm-ceiling-1"
RESULT_SCHEMAS = (INFERENCE_SCHEMA, PARTITIONING_SCHEMA, MAP_SCHEMA, CEILING_SCHEMA)  # what can be stored beside scores

# variable -> (dims, meaning)
INFERENCE_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "score": (("model",), "mean score over subjects"),
    "score_subject": (("model", "subject"), "score with each subject"),
    "score_variance": (("model",), "estimated variance of the score over new stimuli and subjects, as drawn"),
    "variance_stimuli": (("model",), "bootstrap variance when stimuli are drawn, uncorrected"),
    "variance_subjects": (("model",), "bootstrap variance when subjects are drawn, uncorrected"),
    "variance_both": (("model",), "bootstrap variance when both are drawn, uncorrected"),
    "score_low": (("model",), "lower end of the confidence interval"),
    "score_high": (("model",), "upper end of the confidence interval"),
    "score_ceiling_lower": ((), "mean score of each subject with the pool of the others"),
    "score_ceiling_upper": ((), "mean score of each subject with the pool of all"),
    "pvalue_zero": (("model",), "score against 0, one-sided (greater)"),
    "pvalue_zero_holm": (("model",), "the same, Holm over models"),
    "pvalue_zero_bh": (("model",), "the same, Benjamini-Hochberg over models"),
    "pvalue_ceiling": (("model",), "score against the lower ceiling, one-sided (less)"),
    "pvalue_ceiling_holm": (("model",), "the same, Holm over models"),
    "pvalue_ceiling_bh": (("model",), "the same, Benjamini-Hochberg over models"),
    "pvalue_pair": (("model", "model_b"), "difference of two models, two-sided"),
    "pvalue_pair_holm": (("model", "model_b"), "the same, Holm over pairs of models"),
    "pvalue_pair_bh": (("model", "model_b"), "the same, Benjamini-Hochberg over pairs of models"),
    "pvalue_permutation": (("model",), "score against permuted stimuli, one-sided (greater)"),
    "pvalue_permutation_corrected": (("model",), "the same against the best model of each permutation (max-statistic)"),
    "dof": ((), "degrees of freedom of the t-tests and intervals"),
    "n_samples_used": ((), "bootstrap samples behind the variances"),
    "n_samples_dropped": ((), "bootstrap samples without a score: too few distinct stimuli, or a constant RDM"),
    "score_samples": (("sample", "model"), "score in every bootstrap sample; NaN where dropped"),
    "score_ceiling_lower_samples": (("sample",), "lower ceiling in every bootstrap sample"),
    "score_ceiling_upper_samples": (("sample",), "upper ceiling in every bootstrap sample"),
    "theta": (("model", "fold", "parameter"), "fitted weights in every fold; NaN beyond a model's number of them"),
}


def assemble_inference(
    values: Mapping[str, Any], models: Sequence[str], subjects: Sequence[str], attrs: Mapping[str, Any]
) -> xr.Dataset:
    """Give the arrays of an RSA inference their labels.

    Parameters
    ----------
    values : mapping of variable to array-like
        Variables of :data:`INFERENCE_VARIABLES`, with the dims named there; None is left out.
    models, subjects : sequence of str
        Names along the dims.
    attrs : mapping
        Record of what was done.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    SchemaError
        For a variable outside the schema, a wrong shape, names that stand twice, or attributes that cannot be stored.

    Examples
    --------
    >>> assemble_inference({"score": [0.3]}, ["V1"], ["M1"], {"seed": 0})["score"].sel(model="V1").item()
    0.3
    """
    for dim, names in (("model", models), ("subject", subjects)):
        repeated = duplicates(list(names))
        if repeated:
            raise SchemaError(
                f"{dim}: {some(repeated)} occur more than once; expected unique names; rename one of them"
            )
    unknown = [name for name in values if name not in INFERENCE_VARIABLES]
    if unknown:
        raise SchemaError(
            f"{unknown[0]!r} is not a variable of RSA inference{suggest(unknown[0], INFERENCE_VARIABLES)}; "
            "add it to INFERENCE_VARIABLES"
        )
    arrays = {name: (INFERENCE_VARIABLES[name][0], np.asarray(v)) for name, v in values.items() if v is not None}
    wrong = [f"{name} {array.shape}" for name, (dims, array) in arrays.items() if array.ndim != len(dims)]
    broken = broken_attrs(attrs, "attrs") + wrong
    if broken:
        raise SchemaError(f"not a table of RSA inference: {'; '.join(broken)}")
    coords: dict[str, Any] = {
        "model": np.asarray(models, dtype=np.str_),
        "subject": np.asarray(subjects, dtype=np.str_),
    }
    if any("model_b" in dims for dims, _ in arrays.values()):
        coords["model_b"] = np.asarray(models, dtype=np.str_)
    try:
        found = xr.Dataset(arrays, coords=coords, attrs={"schema": INFERENCE_SCHEMA, **attrs})
    except ValueError as error:
        raise SchemaError(
            f"the arrays and their names do not fit: {error}; give one name per model and subject"
        ) from None
    for name in arrays:
        found[name].attrs["description"] = INFERENCE_VARIABLES[name][1]
    return found
