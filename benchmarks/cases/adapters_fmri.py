"""Reading fMRI files: ours against nibabel and against unpacking alone."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from types import SimpleNamespace as Data
from typing import Any

import numpy as np

import repcompare as rc
from cases._case import Case, Target, largest

GRID, MASK, VOLUMES = (64, 64, 40), 50_000, 400


def _image(suffix: str) -> Any:
    def make(rng: np.random.Generator, quick: bool) -> Data:
        import nibabel

        grid, size, n = ((12, 12, 8), 300, 20) if quick else (GRID, MASK, VOLUMES)
        mean = rng.normal(1000, 200, size=grid)
        values = (mean[..., None] + rng.normal(0, 15, size=(*grid, n))).astype(np.int16)
        image = nibabel.Nifti1Image(values, np.diag([3.0, 3, 3, 1]))
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((3, 3, 3, 2))
        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name) / f"bold{suffix}"
        nibabel.save(image, path)
        mask = np.zeros(grid, bool)
        mask.ravel()[rng.choice(mask.size, size, replace=False)] = True
        return Data(size=f"{n} volumes, {size} of {mask.size} voxels", folder=folder, path=path, mask=mask, grid=grid)

    return make


def _nibabel(data: Data) -> Any:
    import nibabel

    return np.asanyarray(nibabel.load(data.path).dataobj)[data.mask].T.astype(np.float32)


def _unpacked(data: Data) -> Any:
    """Unpack the whole file, then take the voxels of the mask."""
    with gzip.open(data.path) as stream:
        volumes = np.frombuffer(stream.read()[352:], np.int16).reshape(*data.grid, -1, order="F")
    return volumes[data.mask].T.astype(np.float32)


def _grayordinates(rng: np.random.Generator, quick: bool) -> Data:
    import nibabel

    vertices, n = (500, 4) if quick else (32_492, 20)
    sides = [
        nibabel.cifti2.BrainModelAxis.from_mask(rng.random(vertices) < 0.94, f"Cortex{side}")
        for side in ("Left", "Right")
    ]
    columns = sides[0] + sides[1]
    values = rng.normal(size=(n, len(columns))).astype(np.float32)
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "bold.dtseries.nii"
    rows = nibabel.cifti2.SeriesAxis(0, 2.0, n, "SECOND")
    nibabel.save(nibabel.Cifti2Image(values, (rows, columns)), path)
    return Data(size=f"{len(columns)} grayordinates, header and labels", folder=folder, path=path)


def _axes(data: Data) -> Any:
    import nibabel

    header = nibabel.load(data.path).header
    header.get_axis(0)
    return header.get_axis(1).vertex


def _surface(rng: np.random.Generator, quick: bool) -> Data:
    import nibabel

    vertices, n = (500, 2) if quick else (32_492, 20)
    images = nibabel.gifti.GiftiImage(meta=nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": "CortexLeft"}))
    for row in rng.normal(size=(n, vertices)).astype(np.float32):
        images.add_gifti_data_array(nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES"))
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "bold.func.gii"
    nibabel.save(images, path)
    return Data(size=f"{n} rows of {vertices} vertices, labels", folder=folder, path=path, n=n)


def _nibabel_surface(path: Path) -> Any:
    import nibabel

    return nibabel.load(path).darrays[0].data


CASES = (
    Case(
        name="nifti",
        peer_name="nibabel: all values, then the mask",
        library="nibabel",
        make=_image(".nii"),
        ours=lambda data: rc.read(data.path, mask=data.mask)["response"].values,
        peer=_nibabel,
        agree=largest,
        tolerance=0.0,
        target=Target("within", 2.0),
        note="ours also makes labels and positions of the voxels",
    ),
    Case(
        name="nifti_gz",
        peer_name="python's gzip, then the mask",
        library="nibabel",
        make=_image(".nii.gz"),
        ours=lambda data: rc.read(data.path, mask=data.mask)["response"].values,
        peer=_unpacked,
        agree=largest,
        tolerance=0.0,
        target=Target("cost", 1.5),
        note="the peer holds the whole image in memory, ours one volume",
    ),
    Case(
        name="cifti_open",
        peer_name="nibabel: header and axes",
        library="nibabel",
        make=_grayordinates,
        ours=lambda data: rc.read(data.path)["unit_vertex"].values,
        peer=_axes,
        agree=largest,
        tolerance=0.0,
        target=Target("within", 0.1),
    ),
    Case(
        name="gifti_open",
        peer_name="nibabel: the whole file",
        library="nibabel",
        make=_surface,
        ours=lambda data: len(rc.read(data.path, tr=2.0)["unit_vertex"]),
        peer=lambda data: len(_nibabel_surface(data.path)),
        agree=largest,
        tolerance=0.0,
        target=Target("within", 0.1),
        note="nibabel unpacks all values; ours when they are used",
    ),
)
