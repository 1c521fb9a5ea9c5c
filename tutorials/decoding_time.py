# %% [markdown]
# # Decoding over time: when is the object known, and does its code last?
#
# Spikes of 132 sites in macaque IT cortex (Zhang, Meyers, Bichot, Serre, Poggio and Desimone 2011): seven objects at three
# positions. Decoded is the object, at every time; then across times, and across positions.
#
# The recordings are found in `$REPCOMPARE_DATA`; without them the same steps run on simulated neurons.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np

import repcompare as rc

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "zhang_desimone_it"
found = folder.is_dir()
OBJECTS = ["car", "couch", "face", "flower", "guitar", "hand", "kiwi"]
POSITIONS = ["lower", "middle", "upper"]
WINDOW = {"start": -0.2, "stop": 0.5, "width": 0.05}
place = tempfile.TemporaryDirectory()
out = Path(place.name)

# %% [markdown]
# ## Read
#
# The sites were recorded one after the other: a row is the same condition and repeat at all sites, not the same moment.
# Correlations of the noise between sites are therefore missing, and a real population would be easier or harder to decode.


# %%
def simulated(n_units=60, repeats=20, seed=0):
    """Spikes of neurons that prefer objects, a little also positions; early and late responses have other preferences."""
    rng = np.random.default_rng(seed)
    names = [f"{o}_{p}" for o in OBJECTS for p in POSITIONS]
    trials = rng.permutation(np.repeat(np.arange(21), repeats))
    by_place = np.tile(rng.gamma(1.0, 2.0, (3, n_units)), (7, 1))
    pieces = []
    for begin, length, depth in ((-0.2, 0.3, 0.0), (0.1, 0.1, 12.0), (0.2, 0.3, 5.0)):
        by_object = np.repeat(rng.gamma(1.0, 1.0, (7, n_units)), 3, axis=0)
        counts = rng.poisson(length * (4 + depth * by_object + (depth > 0) * by_place)[trials])
        trial, unit = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
        pieces.append((trial, unit, begin + length * rng.random(len(trial))))
    trial, unit, time = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    return rc.read({"trial": trial, "unit": unit, "time": time, "stimulus": [names[i] for i in trials]}, **WINDOW)


it = (rc.read(folder, **WINDOW) if found else simulated()).load()
print("recordings" if found else "no recordings found: simulated neurons")
names = it["stimulus_id"].values.astype(str)
objects = np.array([name.split("_")[0] for name in names])
positions = np.array([name.split("_")[1] for name in names])
it = it.assign(response=np.sqrt(it["response"].astype(float)))  # counts of similar variance
it

# %% [markdown]
# ## At every time
#
# Five folds over presentations, the same at all times, stratified by object. Repeats of one picture are then on both
# sides of a split. That is refused unless it is meant: here it is, the question is whether the *object* can be read from
# a new presentation of a known picture, and `force=("repeats",)` says so. Bins are 50 ms wide and named by their middle;
# `pvalue_corrected` compares with the best time of each permutation.

# %%
known = {"alpha": 0.1, "folds": 5, "force": ("repeats",), "seed": 0}
course = rc.decode(it, objects, permutations=100, **known)
for time, score, p in zip(course.times, course.score, course.pvalue_corrected, strict=True):
    print(f"{1000 * time:5.0f} ms  {score:.2f}  {'*' if p <= 0.05 else ''}")
before = course.score[course.times < 0].mean()
first = course.times[course.pvalue_corrected <= 0.05].min()
print(
    f"chance {course.chance:.2f}, before the onset {before:.2f}, above chance from the bin around {1000 * first:.0f} ms"
)
assert abs(before - course.chance) < 0.05 < course.score.max() - course.chance

# %% [markdown]
# Before the onset nothing may be decoded: this is the test of the folds. A *first* significant bin is no estimate of a
# latency: it comes earlier with more trials, and a response that begins late in a bin counts for the whole bin.
#
# Which objects are mistaken for which, at the best time?

# %%
best = int(np.argmax(course.score))
axes = rc.plot.confusion(
    course.confusion[best], classes=course.classes, title=f"around {1000 * course.times[best]:.0f} ms"
)
axes.figure.savefig(out / "confusion.png")
axes.figure

# %% [markdown]
# ## From every time to every other
#
# A decoder is trained at one time and tested at all: if the code lasted, it would work everywhere after the onset (a
# square); if the code changes, only near the diagonal. Test rows are never training rows, on and off the diagonal.

# %%
across = rc.decode(it, objects, permutations=50, generalize=True, **known)
axes = rc.plot.generalization(across, title="objects in IT")
axes.figure.savefig(out / "generalization.png")
axes.figure

# %%
late = (across.times > 0.1) & (across.times < 0.4)
square = across.score[np.ix_(late, late)]
same = np.diagonal(square).mean()
apart = np.mean([square[i, j] for i in range(len(square)) for j in range(len(square)) if abs(i - j) > 2])
print(f"100 to 400 ms: same time {same:.2f}, more than 100 ms apart {apart:.2f}, chance {across.chance:.2f}")

# %% [markdown]
# Scores off the diagonal can be low although the code is the same: where the firing rate changes, so do the decision
# values, and a decoder that is trained on strong responses may call every weak one by one name. A matrix that is not a
# square is therefore not yet a code that moves.
#
# ## At a position that was never trained
#
# `groups=` holds out whole positions: the decoder knows the object at two positions and is asked about the third. What
# remains of the score does not depend on the position.

# %%
window = it.sel(time=slice(0.1, 0.3)).mean("time", keep_attrs=True)
seen = rc.decode(window, objects, permutations=200, **known)
unseen = rc.decode(window, objects, groups=positions, folds="loo", alpha=0.1, permutations=200, seed=0)
print(f"position seen {seen.score:.2f}, not seen {unseen.score:.2f}, chance {seen.chance:.2f}, p = {unseen.pvalue:.3f}")
for (_, test), score in zip(unseen.folds.splits, unseen.fold_scores, strict=True):
    print(f"  {positions[test[0]]:7s} {score:.2f}")

# %% [markdown]
# And the position itself, from objects that were never trained:

# %%
where = rc.decode(window, positions, groups=objects, folds="loo", alpha=0.1, permutations=200, seed=0)
print(f"position, new object: {where.score:.2f}, chance {where.chance:.2f}, p = {where.pvalue:.3f}")

# %% [markdown]
# ## Which label, when: decoders in `compare`
#
# `label_target` makes labels a target like any other, and decoders are measures: a table of windows (or layers, regions,
# subjects) by labels, on the same folds and permutations. A row is now the *mean* response to a picture, so no picture is
# on both sides of a split. Labels with seven classes score less by chance than those with three: the corrected p-value
# compares scores in units of the null of their label, over the whole table.

# %%
windows = {
    f"{1000 * a:.0f} to {1000 * b:.0f} ms": it.sel(time=slice(a, b)).mean("time", keep_attrs=True)
    for a, b in ((-0.2, 0.0), (0.08, 0.2), (0.2, 0.5))
}
labels = rc.label_target(it, {"object": objects, "position": positions})
scores = rc.compare(windows, labels, measures="ridge_classifier", folds=3, permutations=200, seed=0, progress=False)
columns = ["score", "score_chance", "score_pvalue", "score_pvalue_corrected"]
print(scores[columns].squeeze("measure").reset_coords(drop=True).to_dataframe().round(3).to_string())
place.cleanup()
