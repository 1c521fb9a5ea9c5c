"""Options of the readers of fMRI files."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repcompare.errors import FormatError

GLOB = "*?["


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What all readers of volumes, vertices and grayordinates take.

    Attributes
    ----------
    events : path, pandas.DataFrame or list of them, optional
        BIDS events (``onset``, ``duration``, ``trial_type``; s), one table per run; each event becomes a presentation.
    average : float or (float, float or None)
        An event's response is the mean of the volumes whose onset lies in [onset + shift, onset + shift + length), in s;
        the length is the event's duration when it is None.
    stimulus : str
        Column of the events that names the stimulus.
    stimuli : list of str, path or "positional", optional
        One name per volume (or file, or row): they are responses to stimuli, not a time series.  Names that come again
        make presentations.
    tr : float, optional
        Seconds between volumes, where the file does not say.
    zscore, detrend : bool
        Per run: mean 0 and standard deviation 1; without linear trend.
    confounds : list of str, or path
        Columns of the confounds table to regress out of each run, with ``confounds_table=`` where it is not found beside
        the file.
    confounds_table : path or list of paths, optional
        One table (TSV) per run.
    labels : mapping
        Further labels by their schema name (``run=[...]`` per volume, ``unit_subject="sub-01"``).
    """

    events: Any = None
    average: Any = (4.0, None)
    stimulus: str = "trial_type"
    stimuli: Any = None
    tr: float | None = None
    zscore: bool = False
    detrend: bool = False
    confounds: Any = ()
    confounds_table: Any = None
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NiftiOptions(RunOptions):
    """Options of the readers of volumes.

    Attributes
    ----------
    mask : path or array of bool, optional
        Voxels to keep (above 0), on the grid of the data.  Without it: the atlas, else the voxels that vary.
    atlas : path, optional
        Image of whole numbers on the same grid; gives ``unit_region``.
    regions : mapping, list or path, optional
        Names of the atlas's numbers: ``{1: "V1"}``, names from 1 on, or a table with a number and a name per line.
    """

    mask: Any = None
    atlas: Any = None
    regions: Any = None


@dataclass(frozen=True, kw_only=True)
class FmriprepOptions(NiftiOptions):
    """Options of the reader of BIDS derivatives: entities that choose among the files of a folder.

    Attributes
    ----------
    sub, ses, task, run, space : str or list of str, optional
        Values of the entities without their keys (``sub="01"``, ``run=["1", "2"]``).
    """

    sub: Any = None
    ses: Any = None
    task: Any = None
    run: Any = None
    space: Any = None


@dataclass(frozen=True, kw_only=True)
class SurfaceOptions(RunOptions):
    """Options of the readers of GIFTI and CIFTI files.

    Attributes
    ----------
    hemisphere : str, optional
        ``"left"`` or ``"right"`` where a GIFTI file does not say; the hemisphere to keep of a CIFTI file.
    """

    hemisphere: str | None = None


@dataclass(frozen=True, kw_only=True)
class GlmsingleOptions:
    """Options of the reader of GLMsingle's results.

    Attributes
    ----------
    design : list of str, path or "positional"
        The stimulus of each trial, in order.
    mask : path or array of bool, optional
        Voxels to keep, for volumes (X, Y, Z, trial); all finite voxels by default.
    affine : path, optional
        An image whose affine places the voxels; the mask's by default.
    labels : mapping
        Further labels by their schema name (``session=[...]``, ``run=[...]``).
    """

    design: Any = None
    mask: Any = None
    affine: Any = None
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NsdOptions:
    """Options of the reader of betas of the Natural Scenes Dataset.

    Attributes
    ----------
    mask, atlas, regions
        As for NIfTI images.
    expdesign : path, optional
        ``nsd_expdesign.mat``; looked for in the folders above by default.
    subject : int, optional
        1 to 8; from ``subj0N`` in the path by default.
    stimuli : list of str, path or "positional", optional
        Names of the trials, in place of the design.
    zscore_session : bool
        Z-score each voxel within its session, as noise ceilings of this dataset assume.
    labels : mapping
        Further labels by their schema name.
    """

    mask: Any = None
    atlas: Any = None
    regions: Any = None
    expdesign: Any = None
    subject: int | None = None
    stimuli: Any = None
    zscore_session: bool = False
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AlgonautsOptions:
    """Options of the reader of the Algonauts challenges.

    Attributes
    ----------
    rois : list of str, optional
        Region tables to read (``"prf-visualrois"``); all that there are by default.
    runs : list of str, optional
        Datasets of a 2025 file; all of them by default.
    tr : float
        Seconds between samples of a 2025 file.
    labels : mapping
        Further labels by their schema name.
    """

    rois: Any = None
    runs: Any = None
    tr: float = 1.49
    labels: Mapping[str, Any] = field(default_factory=dict)


def files_of(path: str | Sequence[str]) -> list[str]:
    """Return the files that a path, a pattern or a list of them names, in the order given (patterns: by name).

    Raises
    ------
    FormatError
        When there are none, or one comes twice.
    """
    given = [path] if isinstance(path, str | os.PathLike) else list(path)
    found: list[str] = []
    for item in map(os.fspath, given):
        is_pattern = any(c in item for c in GLOB) and not os.path.exists(item)
        found += sorted(glob.glob(item)) if is_pattern else [item]
    if not found:
        raise FormatError(f"{given[0] if given else '[]'}: no file of this name; check the path")
    twice = [f for f in found if found.count(f) > 1]
    if twice:
        raise FormatError(f"{twice[0]}: is named twice; expected different files; name each once")
    missing = [f for f in found if not os.path.isfile(f)]
    if missing:
        raise FormatError(f"{missing[0]}: no such file; check the path")
    return found
