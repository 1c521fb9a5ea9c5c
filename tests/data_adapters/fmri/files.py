"""Tiny genuine files of the formats, written by the formats' own libraries."""

from __future__ import annotations

import nibabel
import numpy as np

AFFINE = np.array([[2.0, 0, 0, -4], [0, 2.5, 0, 3], [0, 0, 3, 1], [0, 0, 0, 1]])
GRID = (4, 3, 2)


def values(n=10, seed=0, grid=GRID):
    return np.random.default_rng(seed).integers(-300, 300, (*grid, n)).astype(np.int16)


def write_run(path, data, *, tr=2.0, slope=None, affine=AFFINE, units=("mm", "sec"), kind=nibabel.Nifti1Image):
    image = kind(data, affine)
    image.header.set_xyzt_units(*units)
    image.set_sform(affine, code=1)
    if data.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


def write_mask(path, keep, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(keep.astype(np.uint8), affine), path)
    return path


def some_voxels(grid=GRID):
    keep = np.zeros(grid, bool)
    keep[1:3, :, 0] = True
    keep[3, 2, 1] = True
    return keep


def write_gifti(
    path, rows, *, side="CortexLeft", intent="NIFTI_INTENT_TIME_SERIES", encoding="GIFTI_ENCODING_B64GZ", names=None
):
    image = nibabel.gifti.GiftiImage()
    if side:
        image.meta["AnatomicalStructurePrimary"] = side
    for i, row in enumerate(rows):
        meta = None if names is None else {"Name": names[i]}
        array = nibabel.gifti.GiftiDataArray(np.asarray(row), intent=intent, meta=meta, encoding=encoding)
        image.add_gifti_data_array(array)
    nibabel.save(image, path)
    return path


def brain_models():
    """Two hemispheres with a gap (medial wall) and some voxels."""
    left = nibabel.cifti2.BrainModelAxis.from_surface([0, 1, 3], 5, "CortexLeft")
    right = nibabel.cifti2.BrainModelAxis.from_surface([1, 2], 5, "CortexRight")
    voxels = np.zeros(GRID, bool)
    voxels[1, 1, :] = True
    return left + right + nibabel.cifti2.BrainModelAxis.from_mask(voxels, "thalamus_left", AFFINE)


def write_cifti(path, data, rows, columns):
    nibabel.save(nibabel.Cifti2Image(data, (rows, columns)), path)
    return path
