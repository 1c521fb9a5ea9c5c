"""The formats of fMRI: how each is recognised, and its reader, imported when called."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from repcompare.labels.formats import Format

NSD_NAME = re.compile(r"(?:[lr]h\.)?betas_session\d+\.(?:hdf5|nii|nii\.gz|mgh|mgz)")
GLMSINGLE_NAME = re.compile(r"TYPE[A-D]_?\w*\.(?:hdf5|h5|npy|mat)", re.IGNORECASE)
BIDS_NAME = re.compile(r"sub-[A-Za-z0-9+]+_\w*[\w-]*_bold\.(?:nii|nii\.gz|func\.gii|[dp]tseries\.nii)", re.IGNORECASE)
DERIVED = ("_desc-", "_space-")
PICKLES_2021 = ("V1.pkl", "V2.pkl", "V3.pkl", "V4.pkl", "LOC.pkl", "EBA.pkl", "FFA.pkl", "PPA.pkl", "STS.pkl", "WB.pkl")


def _base(path: str) -> str:
    return os.path.basename(os.path.normpath(path))


def _kind(head: bytes) -> str:
    if head[:2] != b"\x1f\x8b" and head[:4] not in (
        b"\x5c\x01\0\0",
        b"\0\0\x01\x5c",
        b"\x1c\x02\0\0",
        b"\0\0\x02\x1c",
        b"\0\0\0\x01",
    ):
        return ""
    from data_adapters.fmri._header import kind_of

    return kind_of(head)


def _detect_cifti(path: str, head: bytes) -> bool:
    if _kind(head) != "NIfTI-2" or head[:2] == b"\x1f\x8b":
        return False
    order = "little" if head[0] else "big"
    return 3000 <= int.from_bytes(head[504:508], order) < 3100  # type: ignore[arg-type]


def _detect_nifti(path: str, head: bytes) -> bool:
    named = path.lower().endswith((".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz"))
    return bool(_kind(head)) or (bool(head) and named)


def _detect_gifti(path: str, head: bytes) -> bool:
    return b"<GIFTI" in head or (bool(head) and path.lower().endswith(".gii"))


def _detect_fmriprep(path: str, head: bytes) -> bool:
    base = _base(path)
    if head:
        return BIDS_NAME.fullmatch(base) is not None and any(mark in base for mark in DERIVED)
    if not os.path.isdir(path):
        return False
    from data_adapters.fmri.fmriprep import is_derivative

    return is_derivative(path)


def _detect_glmsingle(path: str, head: bytes) -> bool:
    return bool(head) and GLMSINGLE_NAME.fullmatch(_base(path)) is not None


def _detect_nsd(path: str, head: bytes) -> bool:
    return bool(head) and NSD_NAME.fullmatch(_base(path)) is not None


def _detect_algonauts(path: str, head: bytes) -> bool:
    if head:
        named = re.fullmatch(r"sub-\d+_task-\w+_space-\w+_atlas-\w+.*_bold\.h5", _base(path)) is not None
        return named or (head[:1] == b"\x80" and _base(path) in PICKLES_2021)
    if not os.path.isdir(path):
        return False
    from data_adapters.fmri.algonauts import is_challenge

    return is_challenge(path)


def _reader(name: str, module: str, options: str, what: str) -> Callable[..., Any]:
    """Return ``read(path, **options)`` that imports its module when it is called."""

    def read(path: Any, **given: Any) -> Any:
        from importlib import import_module

        from data_adapters._guard import guard
        from data_adapters._options import parse
        from data_adapters.fmri import _options

        chosen = parse(getattr(_options, options), given, name)
        function = getattr(import_module(f"data_adapters.fmri.{module}"), f"read_{module}")
        with guard(path if isinstance(path, str) else str(path[0]), what):
            return function(path, chosen)

    return read


NIFTI = Format(
    name="nifti",
    suffixes=(".nii", ".nii.gz", ".mgh", ".mgz"),
    extra="",
    reads="voxels of runs or single volumes; events= makes presentations; .nii.gz in one pass",
    detect=_detect_nifti,
    read=_reader("nifti", "nifti", "NiftiOptions", "a NIfTI image"),
    rank=10,
    several=True,
)
CIFTI = Format(
    name="cifti",
    suffixes=(".dtseries.nii", ".ptseries.nii", ".dscalar.nii", ".pscalar.nii"),
    extra="",
    reads="grayordinates or parcels of time series and maps, lazily",
    detect=_detect_cifti,
    read=_reader("cifti", "cifti", "SurfaceOptions", "a CIFTI-2 file"),
    rank=15,
    several=True,
)
GIFTI = Format(
    name="gifti",
    suffixes=(".gii",),
    extra="",
    reads="vertices of time series and maps, one hemisphere per file",
    detect=_detect_gifti,
    read=_reader("gifti", "gifti", "SurfaceOptions", "a GIFTI file"),
    rank=10,
    several=True,
)
FMRIPREP = Format(
    name="fmriprep",
    suffixes=(),
    extra="",
    reads="preprocessed runs of BIDS derivatives with their masks; confounds= by name",
    detect=_detect_fmriprep,
    read=_reader("fmriprep", "fmriprep", "FmriprepOptions", "BIDS derivatives"),
    rank=20,
    several=True,
)
GLMSINGLE = Format(
    name="glmsingle",
    suffixes=(".hdf5", ".mat", ".npy"),
    extra="",
    reads="single-trial betas (TYPEA to TYPED) as presentation x voxel; design= names the trials",
    detect=_detect_glmsingle,
    read=_reader("glmsingle", "glmsingle", "GlmsingleOptions", "results of GLMsingle"),
    rank=25,
)
NSD = Format(
    name="nsd",
    suffixes=(".hdf5", ".nii.gz", ".mgh"),
    extra="",
    reads="betas of the Natural Scenes Dataset by picture and repeat; lists of sessions",
    detect=_detect_nsd,
    read=_reader("nsd", "nsd", "NsdOptions", "betas of the Natural Scenes Dataset"),
    rank=25,
    several=True,
)
ALGONAUTS = Format(
    name="algonauts",
    suffixes=(".h5",),
    extra="",
    reads="the Algonauts challenges of 2023 (folder of a subject) and 2025 (parcels of films)",
    detect=_detect_algonauts,
    read=_reader("algonauts", "algonauts", "AlgonautsOptions", "data of an Algonauts challenge"),
    rank=25,
)
