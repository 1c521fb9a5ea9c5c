"""Opening and reading fMRI files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import repcompare as rc


class Volumes:
    params = ([".nii", ".nii.gz"], [((12, 12, 8), 300, 20), ((64, 64, 40), 50_000, 400)])
    param_names = ("suffix", "grid_voxels_volumes")

    def setup(self, suffix, sizes):
        import nibabel

        grid, voxels, n = sizes
        rng = np.random.default_rng(0)
        values = (rng.normal(1000, 200, size=grid)[..., None] + rng.normal(0, 15, size=(*grid, n))).astype(np.int16)
        image = nibabel.Nifti1Image(values, np.diag([3.0, 3, 3, 1]))
        image.header.set_xyzt_units("mm", "sec")
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / f"bold{suffix}"
        nibabel.save(image, self.path)
        self.mask = np.zeros(grid, bool)
        self.mask.ravel()[rng.choice(self.mask.size, voxels, replace=False)] = True

    def teardown(self, suffix, sizes):
        self.folder.cleanup()

    def time_open(self, suffix, sizes):
        rc.read(self.path, mask=self.mask, tr=2.0)

    def time_read(self, suffix, sizes):
        rc.read(self.path, mask=self.mask, tr=2.0)["response"].load()

    def peakmem_read(self, suffix, sizes):
        rc.read(self.path, mask=self.mask, tr=2.0)["response"].load()


class Surfaces:
    params = (["func.gii", "dtseries.nii"], [(10, 500), (100, 32_492)])
    param_names = ("kind", "rows_vertices")

    def setup(self, kind, sizes):
        import nibabel

        n, vertices = sizes
        rng = np.random.default_rng(0)
        values = rng.normal(size=(n, vertices)).astype(np.float32)
        if kind == "func.gii":
            image = nibabel.gifti.GiftiImage()
            for row in values:
                image.add_gifti_data_array(nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES"))
        else:
            columns = nibabel.cifti2.BrainModelAxis.from_mask(np.ones(vertices, bool), "CortexLeft")
            image = nibabel.Cifti2Image(values, (nibabel.cifti2.SeriesAxis(0, 2.0, n, "SECOND"), columns))
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / f"lh.{kind}"
        nibabel.save(image, self.path)

    def teardown(self, kind, sizes):
        self.folder.cleanup()

    def time_open(self, kind, sizes):
        rc.read(self.path, tr=2.0)

    def time_read(self, kind, sizes):
        rc.read(self.path, tr=2.0)["response"].load()
