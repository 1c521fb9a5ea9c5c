"""Names of assemblies and of representations, both ways; what cannot be told from ours is kept in a record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

RECORD = "brainscore_names"
OURS = "repcompare_names"  # attribute of files that we write: their names of coordinates to ours, where these differ
SAMPLE_DIMS = ("presentation", "stimulus_path", "stimulus", "image_id", "stimulus_id")
UNIT_DIMS = ("neuroid", "choice", "neuroid_id")
TIME_DIM = "time_bin"
STIMULUS_IDS = ("stimulus_id", "image_id", "stimulus_path")
UNIT_IDS = ("neuroid_id", "choice_", "choice")
SUBJECTS = ("animal", "subject", "monkey")
SAMPLE_KEEP = ("session", "run")
POSITIONS = ("x", "y", "z", "i", "j", "k", "id")
TIME_STARTS, TIME_ENDS = ("time_bin_start",), ("time_bin_end", "time_bin_stop")
RESERVED = ("schema", "modality", "response_units", "source", "history", RECORD, OURS)


@dataclass
class Record:
    """What a file said beyond the representation made of it, so that writing gives it back.

    Attributes
    ----------
    variable : str
        Name of the data variable.
    dims : list of str
        Its dims in stored order.
    dtype : str
        Of its values.
    names : dict of str to str
        Our coordinate to theirs.
    dtypes : dict of str to str
        Of their coordinates whose values were made text, by our name.
    made : list of str
        Our coordinates that the file did not have.
    scalars : dict
        Coordinates of a single value.
    times : dict
        Columns of ``time_bin`` by name.
    attrs, data_attrs : dict
        Attributes of the file and of the variable.
    """

    variable: str = "data"
    dims: list[str] = field(default_factory=list)
    dtype: str = "float64"
    names: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    scalars: dict[str, Any] = field(default_factory=dict)
    times: dict[str, Any] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    data_attrs: dict[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the record as JSON."""
        return json.dumps(asdict(self))


def record_of(attrs: Any) -> Record | None:
    """Return the record of a representation; None where there is none, or it is no longer legible."""
    text = attrs.get(RECORD)
    if not isinstance(text, str):
        return None
    try:
        return Record(**json.loads(text))
    except (ValueError, TypeError):
        return None


def ours_of(attrs: Any) -> dict[str, str]:
    """Return our names of coordinates that a file which we wrote records; nothing where it records none, or illegibly.

    Examples
    --------
    >>> ours_of({"repcompare_names": '{"x": "unit_x", "y": "response"}'})
    {'x': 'unit_x'}
    """
    try:
        found = json.loads(attrs.get(OURS, "{}"))
    except (ValueError, TypeError):
        return {}
    if not isinstance(found, dict) or len(set(map(str, found.values()))) < len(found):
        return {}
    allowed = ("repeat", *SAMPLE_KEEP)
    return {
        theirs: ours
        for theirs, ours in found.items()
        if isinstance(ours, str)
        and (ours in allowed or (ours.startswith(("unit_", "stimulus_")) and ours not in ("unit_id", "stimulus_id")))
    }


def read_name(theirs: str, unit: bool) -> str:
    """Return the name that a coordinate gets when it is read."""
    if unit:
        return "unit_subject" if theirs in SUBJECTS else our_unit_name(theirs)
    return our_sample_name(theirs)


def our_sample_name(theirs: str) -> str:
    """Return the schema name of a coordinate of presentations.

    Examples
    --------
    >>> [our_sample_name(n) for n in ("repetition", "object_name", "stimulus_path", "run")]
    ['repeat', 'stimulus_object_name', 'stimulus_path', 'run']
    """
    if theirs == "repetition":
        return "repeat"
    if theirs in SAMPLE_KEEP:
        return theirs
    prefixed = theirs.startswith("stimulus_") and theirs not in ("stimulus_id",)
    return theirs if prefixed else f"stimulus_{theirs}"


def our_unit_name(theirs: str) -> str:
    """Return the schema name of a coordinate of neuroids; what would be taken for mm or for the name is marked.

    Examples
    --------
    >>> [our_unit_name(n) for n in ("region", "voxel_x", "x")]
    ['unit_region', 'unit_voxel_x', 'unit_x_brainscore']
    """
    return f"unit_{theirs}_brainscore" if theirs in POSITIONS else f"unit_{theirs}"


def their_name(ours: str) -> str:
    """Return the name of a coordinate of ours in an assembly, where no record says it."""
    known = {
        "stimulus": "stimulus_id",
        "stimulus_id": "stimulus_id",
        "repeat": "repetition",
        "unit_id": "neuroid_id",
        "stimulus_path": "stimulus_path",
    }
    if ours in known:
        return known[ours]
    for prefix in ("stimulus_", "unit_"):
        if ours.startswith(prefix):
            return ours.removeprefix(prefix).removesuffix("_brainscore")
    return ours
