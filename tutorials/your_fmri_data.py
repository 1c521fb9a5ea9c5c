# %% [markdown]
# # Your own fMRI data
#
# From runs on disk to distances between conditions: read NIfTI images behind a mask, average the volumes of each event,
# ask which voxels can be trusted, and write a map back. The example is one slice of the first subject of Haxby et al.
# (2001), found in `$REPCOMPARE_DATA`; without it a simulated person is written to a temporary folder as NIfTI files.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import repcompare as rc
from data_adapters.fmri.maps import write_map

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "haxby_pymvpa"
CATEGORIES = ["face", "cat", "house", "chair", "bottle", "scissors", "shoe", "scrambledpix"]


# %%
def recorded():
    runs = sorted(folder.glob("haxby2001/sub001/BOLD/*/bold_1slice.nii.gz"))
    return runs, folder / "mask.nii.gz", [run.parent / "bold_events.tsv" for run in runs]


def simulated(place):
    import nibabel

    rng = np.random.default_rng(0)
    affine = np.diag([3.1, 3.75, 3.75, 1.0])
    mask = np.zeros((20, 16, 1), np.uint8)
    mask[2:18, 2:14] = 1
    nibabel.save(nibabel.Nifti1Image(mask, affine), place / "mask.nii.gz")
    patterns = rng.normal(size=(8, *mask.shape)) + 2 * rng.normal(size=(2, *mask.shape))[[0, 0, 1, 1, 1, 1, 1, 1]]
    patterns *= rng.random(mask.shape) < 0.3
    runs, tables = [], []
    for number in range(1, 9):
        onsets = 15.0 + 36.0 * np.arange(8)
        order = rng.permutation(8)
        volumes = 1000 + 5 * rng.normal(size=(*mask.shape, 121)) + np.linspace(0, 20, 121)
        for onset, which in zip(onsets, order, strict=True):
            first = round((onset + 5) / 2.5)
            volumes[..., first : first + 9] += 6 * patterns[which][..., None]
        image = nibabel.Nifti1Image(volumes.astype(np.float32), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((3.1, 3.75, 3.75, 2.5))
        runs.append(place / f"sub-01_task-objects_run-{number}_bold.nii.gz")
        nibabel.save(image, runs[-1])
        tables.append(place / f"sub-01_task-objects_run-{number}_events.tsv")
        table = {"onset": onsets, "duration": 22.5, "trial_type": np.array(CATEGORIES)[order]}
        pd.DataFrame(table).to_csv(tables[-1], sep="\t", index=False)
    return runs, place / "mask.nii.gz", tables


place = tempfile.TemporaryDirectory()
runs, mask, tables = recorded() if folder.is_dir() else simulated(Path(place.name))
print("recordings" if folder.is_dir() else "no recordings found: simulated")

# %% [markdown]
# ## One run
#
# Opening reads the header and the mask; values stay on disk until they are used. Rows are volumes with their onset in
# seconds, columns are voxels with their index (`unit_i`, `unit_j`, `unit_k`) and their position in mm. `history` says
# what was assumed. A pattern such as `rc.read("sub-01_*_bold.nii.gz", mask=...)` reads several runs.

# %%
run = rc.read(runs[0], mask=mask)
print(run)
print("\n".join(run.attrs["history"]))

# %% [markdown]
# ## Events become presentations
#
# `events=` takes one BIDS table per run (or DataFrames). The response to an event is the mean of the volumes that begin
# in a window after its onset: 4 s later by default, as long as the event lasted. `zscore` and `detrend` work within each
# run. No model of the haemodynamic response is fitted: for short events that overlap use GLMsingle or another program,
# whose results `rc.read` takes as well (`data_adapters.formats()` lists them).

# %%
trials = rc.read(runs, mask=mask, events=tables, average=(4.0, None), detrend=True, zscore=True)
print(trials)
print(pd.crosstab(trials["run"].values, trials["stimulus_id"].values))

# %% [markdown]
# ## Which voxels respond the same way twice?
#
# Split the presentations of each category at random into halves, and correlate the two profiles of every voxel over the
# categories. The median over a few splits is a simple measure of what can be trusted. Choosing voxels by it is blind to
# *which* categories differ only if the data that are compared later are other ones: here we only look.


# %%
def reliability(trials, seed):
    first, second = (half["response"].values for half in rc.split_halves(trials, seed=seed))
    first, second = first - first.mean(0), second - second.mean(0)
    return (first * second).sum(0) / np.sqrt((first**2).sum(0) * (second**2).sum(0))


trials = trials.load()
median = np.median([reliability(trials, seed) for seed in range(20)], axis=0)
print(f"{trials.sizes['unit']} voxels, median reliability {np.median(median):.2f}, best {median.max():.2f}")

# %% [markdown]
# A map over units goes back into an image on the grid that it came from.

# %%
result = trials[["unit_i", "unit_j", "unit_k"]].assign(score=("unit", median.astype(np.float32)))
write_map(result, Path(place.name) / "reliability.nii.gz", like=mask)

# %% [markdown]
# ## Distances between categories
#
# The crossnobis distance multiplies differences of one run by those of another, so that noise does not add to it: it is
# zero on average where two categories evoke the same pattern, and may come out negative.

# %%
distances = rc.rdm(trials, distance="crossnobis", noise="shrinkage_diag", condensed=False)
square = distances["dissimilarity"].to_pandas().loc[CATEGORIES, CATEGORIES]
print(square.round(2).to_string())

# %% [markdown]
# Do the distances replicate? Those of the odd runs against those of the even runs, and against a model in which faces
# and cats are alike and differ from things.

# %%
number = trials["run"].values
odd, even = (trials.isel(presentation=np.flatnonzero(number % 2 == rest)) for rest in (1, 0))
halves = [rc.rdm(half, distance="crossnobis", noise="shrinkage_diag") for half in (odd, even)]
print("odd against even runs, rho_a:", round(np.asarray(rc.compare_rdms(*halves)).item(), 2))
alive = np.isin(CATEGORIES, ["face", "cat"])
model = rc.rdm_set(
    [(alive[:, None] != alive)[np.triu_indices(8, 1)].astype(float)], stimulus=CATEGORIES, rdm=["alive or not"]
)
whole = rc.rdm(trials, distance="crossnobis", noise="shrinkage_diag")
print("alive or not, rho_a:", round(np.asarray(rc.compare_rdms(whole, model)).item(), 2))

# %% [markdown]
# The brain is now a representation like any other: `rc.compare(layers, rc.average_repeats(trials))` scores the layers of
# a network on the same pictures, `rc.searchlight` asks where.

# %%
place.cleanup()
