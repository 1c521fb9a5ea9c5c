# %% [markdown]
# # Decoding fMRI: what did the person see, and where in the brain is it written?
#
# One slice of the first subject of Haxby et al. (2001), who saw pictures of eight categories in twelve runs. Which
# category was shown in a block is decoded from runs that the decoder has not seen; then the same is asked of every small
# neighbourhood of voxels.
#
# The recordings are found in `$REPCOMPARE_DATA`; without them the same steps run on a simulated person.

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
place = tempfile.TemporaryDirectory()
out = Path(place.name)

# %% [markdown]
# ## Read
#
# Each run is an image and a table of events. `average=(4.0, None)` takes the mean of the volumes from 4 s after the
# onset, as long as the event lasted; linear trends and the scale of each voxel are taken out within each run. Both use
# the run itself and no labels, so nothing leaks from test runs into training runs.


# %%
def recorded():
    runs = sorted(folder.glob("haxby2001/sub001/BOLD/*/bold_1slice.nii.gz"))
    return runs, folder / "mask.nii.gz", [run.parent / "bold_events.tsv" for run in runs]


def simulated(place):
    import nibabel

    rng = np.random.default_rng(0)
    affine = np.diag([3.1, 3.75, 3.75, 1.0])
    mask = np.zeros((22, 18, 1), np.uint8)
    mask[2:20, 2:16] = 1
    nibabel.save(nibabel.Nifti1Image(mask, affine), place / "mask.nii.gz")
    patterns = rng.normal(size=(8, *mask.shape))
    patterns *= (np.arange(22) < 9)[:, None, None]  # only one side of the slice knows
    runs, tables = [], []
    for number in range(1, 11):
        onsets = 15.0 + 36.0 * np.arange(8)
        order = rng.permutation(8)
        volumes = 1000 + 5 * rng.normal(size=(*mask.shape, 121)) + np.linspace(0, 20, 121)
        for onset, which in zip(onsets, order, strict=True):
            first = round((onset + 5) / 2.5)
            volumes[..., first : first + 9] += 0.8 * patterns[which][..., None]
        image = nibabel.Nifti1Image(volumes.astype(np.float32), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((3.1, 3.75, 3.75, 2.5))
        runs.append(place / f"sub-01_task-objects_run-{number:02}_bold.nii.gz")
        nibabel.save(image, runs[-1])
        tables.append(place / f"sub-01_task-objects_run-{number:02}_events.tsv")
        table = {"onset": onsets, "duration": 22.5, "trial_type": np.array(CATEGORIES)[order]}
        pd.DataFrame(table).to_csv(tables[-1], sep="\t", index=False)
    return runs, place / "mask.nii.gz", tables


runs, mask, tables = recorded() if folder.is_dir() else simulated(out)
print("recordings" if folder.is_dir() else "no recordings found: simulated")
trials = rc.read(runs, mask=mask, events=tables, average=(4.0, None), detrend=True, zscore=True).load()
trials

# %% [markdown]
# ## Decode, leaving out one run at a time
#
# Presentations know their `run`, so whole runs are held out without being asked. The default, balanced accuracy, is the
# mean over categories of the share of right blocks. `alpha=0.1` fixes the shrinkage of the discriminant analysis in
# advance: 1000 permutations of the labels (within runs) then cost about as much as one decoding.

# %%
found = rc.decode(trials, "stimulus_id", alpha=0.1, permutations=1000, seed=0)
print(f"{len(found.folds)} folds, {trials.sizes['unit']} voxels, permuted: {found.exchange}")
print(f"balanced accuracy {found.score:.2f}, chance {found.chance:.3f}, p = {found.pvalue:.3f}")
low, high = np.quantile(found.null_scores, [0.025, 0.975])
print(f"permuted labels: mean {found.null_scores.mean():.3f}, 95 % between {low:.3f} and {high:.3f}")
for note in found.notes:
    print("note:", note)

# %% [markdown]
# The null scores lie around chance, as they must: if they did not, folds and permutations would not fit together. The
# p-value counts permutations that score as much; it cannot be smaller than 1/1001.
#
# ## Which categories are mistaken for which?
#
# Rows are what was shown. Mistakes tell more than the score: if only faces and houses could be told from the rest, the
# score would also be far above chance.

# %%
axes = rc.plot.confusion(found, order=CATEGORIES, title="decoded from one slice")
axes.figure.savefig(out / "confusion.png")
axes.figure

# %%
right = dict(zip(found.classes, np.diagonal(found.confusion) / found.confusion.sum(axis=1), strict=True))
print(", ".join(f"{name} {right[name]:.2f}" for name in CATEGORIES))

# %% [markdown]
# ## Does the choice of the decoder matter?
#
# The same folds for all. Choosing the best of these afterwards would be choosing on the test data: decide before.

# %%
for model, options in {
    "lda": {"alpha": 0.1},
    "ridge": {},
    "nearest_centroid": {},
    "lda, automatic shrinkage": {},
    "logistic": {},
    "svm": {},
}.items():
    score = rc.decode(trials, "stimulus_id", model=model.partition(",")[0], **options).score
    print(f"{model:25s} {score:.2f}")

# %% [markdown]
# ## Where? A searchlight
#
# The same decoding from every voxel and its neighbours within two steps. The slice is one voxel thick, so the spheres are
# discs of 13 voxels; centres with fewer than 10 voxels around them have no score. All centres share folds and
# permutations, and the corrected p-value compares each with the *best* centre of each permutation: without any signal, a
# map with a single outlined voxel comes up in at most 5 % of cases.

# %%
maps = rc.searchlight(trials, labels="stimulus_id", radius=2, permutations=1000, seed=0, progress=False)
significant = maps["score_pvalue_corrected"] <= 0.05
print(f"{maps.attrs['n_scored']} centres, best {float(maps['score'].max()):.2f}, {int(significant.sum())} significant")
at = maps.isel(unit=int(maps["score"].argmax("unit")))
print("best centre:", {axis: round(float(at[f"unit_{axis}"]), 1) for axis in "xyz"}, "mm")

# %%
figure = rc.plot.searchlight_slices(maps, title="8 categories, chance 0.125")
figure.savefig(out / "map.png")
figure

# %% [markdown]
# A searchlight says where information can be read from discs, not how far it extends: a single good voxel lights up every
# disc that contains it. Two categories at a time give other maps than all eight. They have few blocks, so that among
# hundreds of centres the best one is often nearly perfect by chance: with few runs even a centre without a mistake may not
# be significant.

# %%
pair = trials.isel(presentation=np.isin(trials["stimulus_id"].values, ["face", "house"]))
faces = rc.searchlight(pair, labels="stimulus_id", radius=2, permutations=1000, seed=0, progress=False)
print(f"face or house: best {float(faces['score'].max()):.2f}, chance {faces.attrs['chance']}")
print(f"{int((faces['score_pvalue_corrected'] <= 0.05).sum())} significant centres")

# %% [markdown]
# ## Write the map
#
# As an image on the grid of the mask, for any viewer.

# %%
write_map(maps, out / "accuracy.nii.gz", like=mask)
write_map(maps, out / "pvalue.nii.gz", like=mask, variable="score_pvalue_corrected", fill=1.0)
print(sorted(path.name for path in out.glob("*.nii.gz") if "bold" not in path.name and "mask" not in path.name))
place.cleanup()
