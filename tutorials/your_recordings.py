# %% [markdown]
# # Your recordings: from spikes to a comparison
#
# Spikes come in many files: NWB, ALF, phy, MATLAB rasters, Brain-Score assemblies, plain lists. All of them become the same
# thing: one row per presentation, one column per unit, labelled. This tutorial walks the whole way with neurons of macaque
# IT cortex (Zhang, Meyers, Bichot, Serre, Poggio and Desimone 2011): seven objects at three positions.
#
# The recordings are found in `$REPCOMPARE_DATA`; without them the same steps run on simulated neurons.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import data_adapters
import repcompare as rc

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "zhang_desimone_it"
found = folder.is_dir()

# %% [markdown]
# ## What can be read
#
# `rc.read` finds the format by content; this is the table of what it knows. Options differ by format and are checked by
# name: a typing mistake is an error, with the nearest known option.

# %%
table = pd.DataFrame(data_adapters.formats())
table[["name", "reads"]]

# %% [markdown]
# ## Read
#
# A folder of rasters holds one file per recording site. The sites were recorded one after the other, so they form a
# *pseudo-population*: only condition and running repeat line up, and the correlation of noise between sites means nothing.
# The reader says so in `attrs["pseudo_population"]`, and random halves are then drawn for each site on its own.
#
# `start`, `stop` and `width` are seconds around the event; bins are half-open. Where spikes are plain lists, a mapping of
# `trial`, `unit` and `time` is read just the same.

# %%
OBJECTS = ["car", "couch", "face", "flower", "guitar", "hand", "kiwi"]
POSITIONS = ["lower", "middle", "upper"]
WINDOW = {"start": -0.2, "stop": 0.5, "width": 0.05}


def simulated(n_units=60, repeats=20, seed=0):
    """Spikes of neurons that prefer objects, a little also positions, from 0.1 s after the onset."""
    rng = np.random.default_rng(seed)
    names = [f"{o}_{p}" for o in OBJECTS for p in POSITIONS]
    by_object = np.repeat(rng.gamma(1.0, 8.0, (7, n_units)), 3, axis=0)
    by_place = np.tile(rng.gamma(1.0, 3.0, (3, n_units)), (7, 1))
    trials = rng.permutation(np.repeat(np.arange(21), repeats))
    late = rng.poisson(0.4 * (by_object + by_place + 2)[trials])  # 0.4 s of response
    early = rng.poisson(0.3 * 5.0, late.shape)  # 0.3 s of spontaneous activity
    lists = []
    for counts, begin, length in ((late, 0.1, 0.4), (early, -0.2, 0.3)):
        trial, unit = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
        lists.append((trial, unit, begin + length * rng.random(len(trial))))
    trial, unit, time = (np.concatenate(columns) for columns in zip(*lists, strict=True))
    spikes = {"trial": trial, "unit": unit, "time": time, "stimulus": [names[i] for i in trials]}
    return rc.read(spikes, **WINDOW)


it = rc.read(folder, **WINDOW) if found else simulated()
it

# %% [markdown]
# Every default, and every trial that was left out, is in the history.

# %%
for line in it.attrs["history"]:
    print(line)

# %% [markdown]
# ## Look at it first
#
# The mean response over time: if it does not rise after the onset, the alignment is wrong, and nothing below means anything.

# %%
rate = it["response"].mean(["presentation", "unit"]) / it["time"].attrs["bin_width"]
fig, axis = plt.subplots(figsize=(5, 3))
axis.plot(it["time"], rate)
axis.axvline(0, color="grey", linewidth=1)
axis.set(xlabel="time from onset (s)", ylabel="mean rate (Hz)")
fig.tight_layout()
before, after = (float(rate.sel(time=slice(*span)).mean()) for span in ((-0.2, 0.0), (0.1, 0.3)))
print(f"before the onset {before:.1f} Hz, from 100 to 300 ms {after:.1f} Hz")
assert after > before

# %% [markdown]
# ## How reliable are the units?
#
# Halves of the repeats, averaged and correlated over stimuli, unit by unit; Spearman and Brown's formula gives the
# reliability of all repeats. Units that carry nothing are counted, not hidden.

# %%
late = it.sel(time=slice(0.1, 0.3)).sum("time", keep_attrs=True)
first, second = (half["response"].values for half in rc.split_halves(late, seed=0))
with np.errstate(invalid="ignore"):
    halves = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(first.T, second.T, strict=True)])
reliability = 2 * halves / (1 + halves)
print(f"median reliability {np.nanmedian(reliability):.2f}; below 0.2 or undefined: {np.sum(~(reliability > 0.2))}")

# %% [markdown]
# ## When does the population tell objects apart, wherever they are?
#
# One RDM per time bin, against two models: same object or not, and same position or not. Before the onset both must be
# around zero.

# %%
average = rc.average_repeats(it)
names = average["stimulus"].values
objects = np.array([n.split("_")[0] for n in names])
places = np.array([n.split("_")[1] for n in names])
models = {"object": objects[:, None] != objects, "position": places[:, None] != places}
upper = np.triu_indices(len(names), 1)

course = {name: [] for name in models}
for k in range(average.sizes["time"]):
    values = average["response"].isel(time=k).values.astype(float)
    values = values[:, values.std(axis=0) > 0]  # a unit that never changes has no say
    pairs = rc.rdm(values, distance="euclidean")
    for name, model in models.items():
        course[name].append(rc.compare_rdms(pairs, model[upper].astype(float), method="spearman"))

fig, axis = plt.subplots(figsize=(5, 3))
for name, values in course.items():
    axis.plot(average["time"], values, label=name)
axis.axhline(0, color="grey", linewidth=1)
axis.set(xlabel="time from onset (s)", ylabel="rank correlation with the model RDM")
axis.legend()
fig.tight_layout()
early = np.mean(np.array(course["object"])[average["time"].values < 0])
best = max(course["object"])
print(f"object model: {early:.2f} before the onset, {best:.2f} at best")
assert best > early + 0.1

# %% [markdown]
# ## Compare with a model of the stimuli
#
# Any other system that saw the same stimuli is compared by their names. Here it is a code of object and position; networks
# are read the same way. The ceiling is what the noise of the recording allows.

# %%
code = np.c_[objects[:, None] == np.unique(objects), 0.5 * (places[:, None] == np.unique(places))].astype(float)
model = rc.representation(code, stimulus=names)
scores = rc.compare(
    {"object and position": model},
    {"IT, 100 to 300 ms": late},
    measures=["rsa", "cka"],
    ceiling="split_half",
    permutations=200,
    progress=False,
)
rc.table(scores)[["source", "measure", "score", "ceiling", "score_normalised", "pvalue"]].round(3)

# %% [markdown]
# ## Hand it on
#
# `rc.save` keeps everything; `data_adapters.brainscore.write` writes an assembly that Brain-Score and plain xarray open, and
# reading it back loses nothing.

# %%
from data_adapters import brainscore

out = Path(tempfile.mkdtemp())
rc.save(it, out / "it.nc")
brainscore.write(it, out / "assy_it.nc", identifier="it")
again = rc.read(out / "assy_it.nc")
assert np.array_equal(again["response"].values, it["response"].values)
assert again["stimulus_id"].values.tolist() == it["stimulus_id"].values.tolist()
again
