"""What the labels of trials and recordings say about their rows: runs, and how slow the signal is."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, OptionError
from repcompare.labels.align import row_labels
from repcompare.labels.schema import sample_dim

FMRI_GAP = 16.0  # s: what the haemodynamic response spreads over


def find_labels(parts: Iterable[xr.Dataset], name: str, stimuli: np.ndarray) -> np.ndarray | None:
    """Return a label of the rows of trials or recordings, by the first part that has it; None where none does.

    Parameters
    ----------
    parts : iterable of representation
        All sides; those in stimulus form are passed over.
    name : str
        ``"run"`` or ``"session"``.
    stimuli : ndarray of str, shape (n_stimuli,)
        The rows.

    Returns
    -------
    ndarray of shape (n_stimuli,), or None
        Also None where all rows have one label.

    Raises
    ------
    AlignmentError
        When the presentations of a stimulus have several.

    Examples
    --------
    >>> import repcompare as rc
    >>> ds = rc.representation(np.eye(4), dims=("presentation", "unit"), stimulus_id=list("abcd"), run=[1, 1, 2, 2])
    >>> find_labels([ds], "run", np.array(list("dcba"))).tolist()
    [2, 2, 1, 1]
    """
    for part in parts:
        dim = sample_dim(part)
        if dim == "stimulus" or name not in part.coords or part[name].dims != (dim,):
            continue
        labels = row_labels(part, name, stimuli)
        if np.unique(labels).size > 1:
            return labels
    return None


def find_runs(parts: Iterable[xr.Dataset], stimuli: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Return the run of each row, and a note; no runs where stimuli occur in several.

    Parameters
    ----------
    parts, stimuli
        As in :func:`find_labels`.
    """
    try:
        labels = find_labels(parts, "run", stimuli)
    except AlignmentError:
        return None, "runs_mixed: stimuli occur in several runs, so folds are drawn over stimuli and not over runs"
    if labels is None:
        return None, ""
    return labels, f"runs: one of {np.unique(labels).size} runs is left out at a time"


def haemodynamic_gap(ds: xr.Dataset) -> int:
    """Return the samples that the response of fMRI spreads over (16 s); 0 for other recordings.

    Raises
    ------
    OptionError
        When the recording is fMRI and the times of its samples are not known.
    """
    if ds.attrs.get("modality") != "fmri":
        return 0
    width = ds["time"].attrs.get("bin_width") if "time" in ds.coords else None
    if width is None and "time" in ds.coords:
        steps = np.diff(ds["time"].values)
        width = float(np.median(steps[steps > 0])) if (steps > 0).any() else None
    if width is None:
        raise OptionError("fMRI without the times of its samples: give gap= in samples, at least 16 s")
    return math.ceil(FMRI_GAP / float(width) - 1e-9)
