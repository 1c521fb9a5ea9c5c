"""Names and tables of BIDS: entities of file names, sidecars, events and confounds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data_adapters._labels import as_text
from data_adapters._options import name_of
from repcompare.errors import FormatError, OptionError, suggest

ENTITY = re.compile(r"^([A-Za-z]+)-([A-Za-z0-9+.]+)$")
EXTENSIONS = (
    ".nii.gz", ".nii", ".func.gii", ".shape.gii", ".gii",
    ".dtseries.nii", ".ptseries.nii", ".dscalar.nii", ".tsv", ".json",
)  # fmt: skip
MISSING = ("n/a", "N/A", "NA", "nan", "NaN", "")
LARGEST_TABLE = 512 * 2**20
PER_SPACE = ("space", "res", "den", "hemi", "desc", "cohort", "part", "echo")


@dataclass(frozen=True)
class Name:
    """A BIDS file name: entities, suffix, extension."""

    entities: Mapping[str, str]
    suffix: str
    extension: str


def parse_name(path: str) -> Name:
    """Split a file name into entities, suffix and extension.

    Examples
    --------
    >>> name = parse_name("sub-01_task-rest_run-2_space-T1w_desc-preproc_bold.nii.gz")
    >>> name.entities["run"], name.suffix, name.extension
    ('2', 'bold', '.nii.gz')
    """
    base = os.path.basename(path)
    found = [e for e in EXTENSIONS if base.lower().endswith(e)]
    extension = max(found, key=len) if found else os.path.splitext(base)[1]
    steps = base[: len(base) - len(extension)].split("_")
    pairs = [ENTITY.match(step) for step in steps]
    entities = {m[1]: m[2] for m in pairs if m}
    return Name(entities, steps[-1] if not pairs[-1] else "", extension)


def sibling(path: str, suffix: str, extension: str, drop: tuple[str, ...] = (), **change: str) -> str | None:
    """Return the file in the same folder whose entities are the same but for those dropped or changed; None: not there."""
    name = parse_name(path)
    wanted = {k: v for k, v in name.entities.items() if k not in drop} | change
    folder = os.path.dirname(path) or "."
    for other in sorted(os.listdir(folder)):
        if not other.endswith(f"_{suffix}{extension}"):
            continue
        if dict(parse_name(other).entities) == wanted:
            return os.path.join(folder, other)
    return None


def repetition_time(path: str) -> float | None:
    """Return ``RepetitionTime`` in s from the sidecar of a file; None without one."""
    extension = parse_name(path).extension
    sidecar = path[: len(path) - len(extension)] + ".json"
    if not os.path.isfile(sidecar) or os.path.getsize(sidecar) > 2**22:
        return None
    try:
        with open(sidecar, encoding="utf-8") as handle:
            content = json.load(handle)
    except (ValueError, OSError, RecursionError) as error:
        raise FormatError(f"{sidecar}: cannot be read as JSON ({error}); write it again or give tr=") from None
    tr = content.get("RepetitionTime") if isinstance(content, dict) else None
    return float(tr) if isinstance(tr, int | float) and 0 < tr < 1e4 else None


def read_table(path: str) -> pd.DataFrame:
    """Read a TSV file (CSV by its suffix); ``n/a`` is missing.

    Raises
    ------
    FormatError
        When it is not a table.
    """
    if not os.path.isfile(path):
        raise FormatError(f"{path}: no such file; check the path")
    if os.path.getsize(path) > LARGEST_TABLE:
        raise FormatError(f"{path}: {os.path.getsize(path)} bytes; expected a table below {LARGEST_TABLE}")
    separator = "," if path.lower().endswith(".csv") else "\t"
    try:
        return pd.read_csv(
            path, sep=separator, na_values=list(MISSING), keep_default_na=False, encoding="utf-8", low_memory=False
        )
    except (ValueError, OSError, pd.errors.ParserError) as error:
        text = " ".join(str(error).split())[:200]
        raise FormatError(f"{path}: cannot be read as a table ({text}); expected tab-separated columns") from None


def read_events(given: Any, stimulus: str, notes: list[str]) -> tuple[pd.DataFrame, str]:
    """Return events as a table with ``onset``, ``duration`` (s) and the stimulus column complete, and where they come from.

    Raises
    ------
    FormatError, OptionError
        When a column is missing or onsets are not numbers.
    """
    is_frame = isinstance(given, pd.DataFrame)
    where = "events=" if is_frame else name_of(os.fspath(given))
    frame = given.reset_index(drop=True) if is_frame else read_table(os.fspath(given))
    for column in ("onset", stimulus):
        if column not in frame:
            hint = "; name the column of stimuli with stimulus=" if column == stimulus else ""
            raise OptionError(f"{where}: no column {column!r}{suggest(column, frame.columns)}{hint}")
    if "duration" not in frame:
        frame = frame.assign(duration=np.nan)
    for column in ("onset", "duration"):
        try:
            frame[column] = pd.to_numeric(frame[column]).astype(np.float64)
        except (ValueError, TypeError) as error:
            raise FormatError(f"{where}: column {column!r}: {error}; expected seconds") from None
    good = np.isfinite(frame["onset"].to_numpy()) & frame[stimulus].notna().to_numpy()
    if not good.any():
        raise FormatError(f"{where}: none of {len(frame)} events has an onset and a {stimulus}; expected at least one")
    if not good.all():
        notes.append(f"{where}: {int((~good).sum())} of {len(frame)} events without onset or {stimulus}: dropped")
    return frame[good].reset_index(drop=True), where


def event_labels(frame: pd.DataFrame, stimulus: str, where: str) -> dict[str, np.ndarray]:
    """Return the stimulus of each event, and its other columns as ``stimulus_<column>``."""
    labels: dict[str, np.ndarray] = {"stimulus_id": as_text(frame[stimulus].to_numpy(), f"{where}: {stimulus}")}
    for column in map(str, frame.columns):
        values = frame[column].to_numpy()
        name = re.sub(r"\W", "_", column.removeprefix("stimulus_"))
        if column == stimulus or f"stimulus_{name}" in labels:
            continue
        if values.dtype.kind in "fiub":
            labels[f"stimulus_{name}"] = values
        else:
            labels[f"stimulus_{name}"] = np.array([v if isinstance(v, str) else "" for v in values], dtype=np.str_)
    return labels


def read_confounds(path: str, names: list[str], rows: int, notes: list[str]) -> np.ndarray:
    """Return named columns of a confounds table (n_volumes, n_names); what is missing gets the mean of its column.

    Raises
    ------
    FormatError, OptionError
        When a column does not exist or is not numbers, or the table has not one row per volume.
    """
    frame = read_table(path)
    unknown = [n for n in names if n not in frame]
    if unknown:
        raise OptionError(f"{name_of(path)}: no confound {unknown[0]!r}{suggest(unknown[0], frame.columns)}")
    if len(frame) != rows:
        raise FormatError(f"{path}: {len(frame)} rows for {rows} volumes; expected one each; is it of another run?")
    bad = [n for n in names if frame[n].dtype.kind not in "fiub"]
    if bad:
        raise FormatError(f"{path}: column {bad[0]!r} is not numbers; choose others with confounds=")
    values = frame[names].to_numpy(np.float64)
    gaps = ~np.isfinite(values)
    if gaps.all(0).any():
        raise FormatError(f"{path}: column {names[int(np.argmax(gaps.all(0)))]!r} has no numbers; choose others")
    if gaps.any():
        means = np.nanmean(np.where(gaps, np.nan, values), axis=0)
        values = np.where(gaps, means, values)
        notes.append(
            f"{name_of(path)}: {int(gaps.sum())} missing values of confounds replaced by the mean of their column"
        )
    return np.asarray(values)
