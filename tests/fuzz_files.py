"""One small genuine file or folder of every format that ``tests.fuzz`` damages, and the options to read it with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
MAPS = np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2)
NAMES = ["cat", "dog", "owl"]


@dataclass(frozen=True)
class Sample:
    """What is damaged (``root``, a file or a folder), and what is then read (``inner``, a path in it)."""

    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    inner: str = ""

    def at(self, root: Path) -> Path:
        """Return the path that is read when the root is elsewhere."""
        return root / self.inner if self.inner else root


def genuine(folder: Path, only: set[str] | None = None) -> dict[str, Sample]:
    """Write one sample of every format whose library is installed, or of some."""
    found = {}
    for name, (needs, make) in MAKERS.items():
        if (only is None or name in only) and all(map(_is_here, needs)):
            place = folder / f"kind_{name}"
            place.mkdir()
            found[name] = make(place)
    return found


def known() -> list[str]:
    """Return the names of the formats whose library is installed."""
    return [name for name, (needs, _) in MAKERS.items() if all(map(_is_here, needs))]


def _is_here(library: str) -> bool:
    """Say whether a library is installed; ``zarr>=3`` asks for a version."""
    name, _, least = library.partition(">=")
    return find_spec(name) is not None and (not least or int(version(name).split(".")[0]) >= int(least))


def _plain(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        from tests.data_adapters import test_malformed

        return Sample(*test_malformed.make(folder, kind))

    return make


def _recording(name: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        from tests.data_adapters.recordings.files import EVERY

        write, options = EVERY[name]
        return Sample(write(folder), options)

    return make


def _map(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        from tests.data_adapters.fmri import test_malformed_fmri as maps

        return Sample(*maps.make(folder, kind))

    return make


def _sensorium_films(folder: Path) -> Sample:
    from tests.data_adapters.recordings.files import write_sensorium

    return Sample(write_sensorium(folder / "films", dynamic=True))


def _experanto(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        from tests.data_adapters.recordings.files import OPTIONS, write_experanto

        return Sample(write_experanto(folder / "responses", kind), OPTIONS if kind == "spikes" else {})

    return make


def _predictions(folder: Path) -> Sample:
    from tests.data_adapters.recordings.files import write_predictions_parquet

    return Sample(write_predictions_parquet(folder / "p.parquet"))


def _things(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        from tests.data_adapters.networks.torch_bytes import Tensor, save_zip
        from tests.data_adapters.recordings.files import stamped

        root = folder / "things"
        root.mkdir()
        (root / "file_names.txt").write_text("\n".join(NAMES) + "\n")
        if kind == "npy":
            np.save(root / "features.npy", MAPS)
        elif kind == "chunks":
            for start, stop in ((0, 2), (2, 3)):
                np.save(root / f"features_fc_{start}-{stop}.npy", VALUES[start:stop])
        elif kind == "txt":
            np.savetxt(root / "features.txt", VALUES, fmt="%.3g")
        elif kind == "hdf5":
            with h5py.File(root / "features.hdf5", "w") as f:
                f["features"] = VALUES
        elif kind == "pictures":
            savemat(root / "features.mat", {n: VALUES[i : i + 1] for i, n in enumerate(NAMES)})
        elif kind == "mat73":
            with h5py.File(root / "features.mat", "w", userblock_size=512) as f:
                f.create_dataset("features", data=VALUES.T).attrs["MATLAB_class"] = np.bytes_("single")
            stamped(root / "features.mat")
        else:
            save_zip(Tensor(VALUES), root / "features.pt")
        return Sample(root)

    return make


def _net2brain(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        root = folder / "net2brain"
        root.mkdir()
        if kind == "pictures":
            for i, name in enumerate(NAMES):
                np.savez(root / f"alexnet_{name}.npz", conv=MAPS[i : i + 1], fc=VALUES[i : i + 1])
        elif kind == "layers":
            for layer, values in {"conv": MAPS, "fc": VALUES}.items():
                np.savez(root / f"consolidated_{layer}.npz", **{n: values[i : i + 1] for i, n in enumerate(NAMES)})
        else:
            rdm = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
            file = root / "RDM_conv.npz"
            np.savez(file, rdm=rdm, stimuli_name=[*NAMES, "rat"], meta=np.array({"layer": "conv"}, object))
            return Sample(file)
        return Sample(root)

    return make


def _deepnsd(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        root = folder / "deepnsd"
        root.mkdir()
        (root / "voxel_metadata.csv").write_text("voxel_id,roi_name,subj_id,ncsnr\nv2,V4,s1,0.5\nv1,V1,s1,0.25\n")
        if kind == "csv":
            (root / "voxel_betas.csv").write_text("voxel_id,img1.png,img2.png\nv1,1,2.5\nv2,4,5\n")
        else:
            import pyarrow
            from pyarrow import parquet

            table = pyarrow.table({"voxel_id": ["v1", "v2"], "img1.png": [1.0, 4.0], "img2.png": [2, 5]})
            parquet.write_table(table, root / "voxel_betas.parquet")
        return Sample(root)

    return make


def _algonauts(folder: Path) -> Sample:
    from tests.data_adapters.fmri.test_studies import challenge

    return Sample(challenge(folder / "subj01")[0])


def _algonauts_h5(folder: Path) -> Sample:
    file = folder / "sub-01_task-friends_space-MNI_atlas-Schaefer18_parcel-1000Par7Net_bold.h5"
    with h5py.File(file, "w") as f:
        f["ses-001_task-s01e02a"], f["ses-002_task-s01e02b"] = VALUES, VALUES[:2] + 1
    return Sample(file)


def _fmriprep(folder: Path) -> Sample:
    from tests.data_adapters.fmri.test_studies import derivatives

    return Sample(derivatives(folder / "fmriprep"), {"confounds": ["trans_x"]})


def _surfaces(folder: Path) -> Sample:
    from tests.data_adapters.fmri.files import write_gifti

    root = folder / "surfaces"
    root.mkdir()
    for side in "LR":
        stem = f"sub-01_task-rest_hemi-{side}_space-fsaverage5_bold"
        write_gifti(root / f"{stem}.func.gii", VALUES, side="")
        (root / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    return Sample(root)


def _glmsingle(kind: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        from tests.data_adapters.fmri.test_studies import DESIGN, write_glmsingle

        return Sample(write_glmsingle(folder, kind), {"design": DESIGN})

    return make


def _nsd(folder: Path) -> Sample:
    """A session of a few voxels with its design, in the folders of the study."""
    inner = "nsddata_betas/ppdata/subj03/func1mm/betas_fithrf"
    root = folder / "nsd"
    (root / inner).mkdir(parents=True)
    rng = np.random.default_rng(0)
    place = root / "nsddata" / "experiments" / "nsd"
    place.mkdir(parents=True)
    pictures = rng.permutation(73000)[:400].reshape(8, 50) + 1
    content = {"masterordering": rng.integers(1, 51, size=(1, 750)), "subjectim": pictures}
    savemat(place / "nsd_expdesign.mat", content, do_compression=True)
    data = rng.integers(-900, 900, size=(750, 1, 2, 2)).astype(np.int16)
    with h5py.File(root / inner / "betas_session01.hdf5", "w") as f:
        f.create_dataset("betas", data=data, chunks=(50, 1, 2, 2))
    return Sample(root, {"mask": np.ones((2, 2, 1), bool)}, f"{inner}/betas_session01.hdf5")


def _netcdf(engine: Any) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        import repcompare as rc

        rc.representation(VALUES, stimulus=NAMES).to_netcdf(folder / "a.nc", engine=engine)
        return Sample(folder / "a.nc")

    return make


def _zarr(form: int) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        import zarr

        root = zarr.open_group(folder / "net.zarr", mode="w", zarr_format=form)
        for name, values, chunks in (("conv", MAPS, (1, 2, 2, 2)), ("deep/fc", VALUES, (2, 4))):
            root.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype)[...] = values
        root.create_array("stimulus_id", shape=(3,), chunks=(2,), dtype=str)[...] = np.array(NAMES, dtype=object)
        return Sample(folder / "net.zarr")

    return make


def _nwb_zarr(folder: Path) -> Sample:
    from tests.data_adapters.nwb_files import write_zarr_by_hand

    window = {"stimulus": "image", "start": 0.0, "stop": 0.2, "width": 0.1}
    return Sample(write_zarr_by_hand(folder / "a.nwb.zarr"), window)


def _networks(name: str) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        import repcompare as rc
        from repcompare.labels.formats import registered
        from tests.data_adapters.networks.torch_bytes import Tensor, save_legacy, save_zip

        file = folder / f"a.{ {'torch': 'pt', 'torch_legacy': 'pth'}.get(name, name) }"
        content = {"fc": Tensor(VALUES), "stimulus_id": NAMES}
        if name == "safetensors":
            registered()["safetensors"].write({"a": rc.representation(VALUES, stimulus=NAMES)}, file)
        elif name == "csv":
            file.write_text("stimulus_id,u1,u2\ncat,1,2\ndog,3,4\n")
        else:
            (save_zip if name == "torch" else save_legacy)(content, file)
        return Sample(file)

    return make


RECORDINGS = ("alf", "phy", "spikes", "nlb", "sensorium", "predictions", "experanto", "raster", "mat", "mat73")
RECORDINGS += ("fieldtrip", "fieldtrip73", "brainscore")
MAKERS: dict[str, tuple[tuple[str, ...], Callable[[Path], Sample]]] = {
    **{kind: ((), _plain(kind)) for kind in ("npy", "npz", "h5", "nwb")},
    **{name: ((), _recording(name)) for name in RECORDINGS},
    **{kind: (("nibabel",), _map(kind)) for kind in ("nii", "nii.gz", "mgz", "gii", "dtseries.nii")},
    **{name: ((), _networks(name)) for name in ("torch", "torch_legacy", "safetensors", "csv")},
    "sensorium_films": ((), _sensorium_films),
    "experanto_mem": ((), _experanto("mem")),
    "experanto_spikes": ((), _experanto("spikes")),
    "predictions_parquet": (("pyarrow",), _predictions),
    **{f"thingsvision_{k}": ((), _things(k)) for k in ("npy", "chunks", "txt", "hdf5", "mat73", "pictures", "pt")},
    **{f"net2brain_{k}": ((), _net2brain(k)) for k in ("pictures", "layers", "rdm")},
    "deepnsd": ((), _deepnsd("csv")),
    "deepnsd_parquet": (("pyarrow",), _deepnsd("parquet")),
    "algonauts": (("nibabel",), _algonauts),
    "algonauts_h5": ((), _algonauts_h5),
    "fmriprep": (("nibabel",), _fmriprep),
    "fmriprep_surfaces": (("nibabel",), _surfaces),
    **{f"glmsingle_{k}": (("nibabel",), _glmsingle(k)) for k in ("hdf5", "npy", "mat5", "mat73")},
    "nsd": ((), _nsd),
    "netcdf3": ((), _netcdf("scipy")),
    "netcdf4": ((), _netcdf("netcdf4")),
    "zarr2": (("zarr>=3",), _zarr(2)),
    "zarr3": (("zarr>=3",), _zarr(3)),
    "nwb_zarr": (("zarr",), _nwb_zarr),
}
