# %% [markdown]
# # Encoding models of a story: words, a language model and fMRI
#
# People listened to the first chapter of *Alice in Wonderland* in the scanner (Brennan et al. 2016). Do the states of a
# language model predict six regions of their brains, beyond the mere rate of words and the loudness of the voice, and
# how far from what people share? A continuous recording has no separate stimuli, and every step has to respect that its
# rows follow each other in time. The recordings are found in `$REPCOMPARE_DATA`; without them the same steps run on
# simulated people.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

import repcompare as rc
from repcompare.measures.encoding.banded import banded_ridge, delayed_ridge

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "alice_fmri_brennan2016"
found = folder.is_dir()
REGIONS = ["LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"]
TR, START = 2.0, 20.0  # s: between scans, of the first one on the clock of the words

# %% [markdown]
# ## Scans and words
#
# The recordings are text files of raw signal, one per person; a person whose signal is constant has no data and is left
# out (rows of zeros are never scored, but they would count as a person). Words come with their onset and with states of
# a language model at each layer, one row per word.


# %%
def recorded():
    data = folder / "alice_data_shared"
    people = {path.name[:3]: np.loadtxt(path) for path in sorted((data / "6mm").glob("*.txt"))}
    words = np.load(folder / "minilm_l6_word_states.npz")
    power = np.loadtxt(data / "s18-sndpwr.txt")
    return people, words["onset"], words["hidden"].astype(np.float64), power


def simulated():
    rng = np.random.default_rng(0)
    n, onset = 240, np.sort(START + 480 * rng.random(1400))
    meaning = rng.normal(size=(1400, 6))
    layers = [
        np.hstack([meaning + noise * rng.normal(size=(1400, 6)), rng.normal(size=(1400, 14))]) for noise in (3, 1, 2)
    ]
    row = ((onset - START) // TR).astype(int)
    drive = np.zeros((n, 7))
    np.add.at(drive, row, np.column_stack([np.ones(1400), meaning]))
    drive -= drive.mean(0)
    late = sum(w * np.vstack([np.zeros((d, 7)), drive[:-d]]) for d, w in ((1, 0.3), (2, 1.0), (3, 0.8), (4, 0.3)))
    common = late @ (rng.normal(size=(7, 6)) * np.array([2.0, 1, 1, 1, 1, 1, 1])[:, None])
    people = {}
    for person in range(8):
        noise = rng.normal(size=(n, 6))
        for i in range(1, n):
            noise[i] += 0.5 * noise[i - 1]
        people[f"p{person}"] = 1000 + common / common.std(0) + 1.5 * noise + np.linspace(0, 3, n)[:, None]
    people["p8"] = np.zeros((n, 6))
    return people, onset, np.stack(layers, axis=1), rng.normal(size=n)


people, onset, hidden, power = recorded() if found else simulated()
print("recordings" if found else "no recordings found: simulated people")
silent = [name for name, signal in people.items() if signal.std(0).min() == 0]
people = {name: signal for name, signal in people.items() if name not in silent}
n = len(power)
time = START + TR * np.arange(n)
print(f"{len(people)} people, {n} scans, {len(onset)} words; constant signal, left out: {silent}")

# %% [markdown]
# ## From signal to responses
#
# Scanners drift. A slow drift is not caused by words, makes neighbouring scans alike for minutes and would demand huge
# gaps between training and test. Cosines slower than 128 s are taken out of every signal, and out of the features as
# well, so that both lack the same frequencies. Then every region of every person is one unit with its labels.


# %%
def without_drift(values, slowest=128.0):
    n_cosines = int(2 * len(values) * TR / slowest)
    rows = (np.arange(len(values)) + 0.5) * np.pi / len(values)
    cosines = np.cos(rows[:, None] * np.arange(n_cosines + 1))
    return values - cosines @ np.linalg.lstsq(cosines, values, rcond=None)[0]


def standardised(values):
    return values / values.std(axis=0)


def recording(values, **labels):
    return rc.representation(values, dims=("time", "unit"), time=time, **labels)


signal = np.stack([standardised(without_drift(person)) for person in people.values()], axis=1)  # time, person, region
brain = recording(
    signal.reshape(n, -1),
    unit_id=[f"{person}/{region}" for person in people for region in REGIONS],
    unit_subject=np.repeat(list(people), 6),
    unit_region=REGIONS * len(people),
    attrs={"modality": "fmri", "response_units": "SD"},
)
average = recording(standardised(signal.mean(1)), unit_id=REGIONS, unit_region=REGIONS, attrs={"modality": "fmri"})

# %% [markdown]
# ## From words to features
#
# Each scan gets the sum of the states of the words that began during it. The mean state is taken off first: otherwise
# the sum would hardly be more than the number of words. The baseline is that number, and the power of the sound.

# %%
row = ((onset - START) // TR).astype(int)


def per_scan(values):
    out = np.zeros((n, values.shape[1]))
    np.add.at(out, row, values)
    return out


baseline = recording(
    standardised(without_drift(np.column_stack([per_scan(np.ones((len(onset), 1))), power]))),
    unit_id=["word rate", "sound power"],
    unit_space="baseline",
)
layers = {}
for layer in range(hidden.shape[1]):
    states = without_drift(per_scan(hidden[:, layer] - hidden[:, layer].mean(0)))
    names = [f"layer {layer}/{i}" for i in range(states.shape[1])]
    layers[f"layer {layer}"] = recording(states / states.std(), unit_id=names, unit_space="language model")

# %% [markdown]
# ## Delays and folds
#
# The response of blood to a word peaks some five seconds later. `delays=[1, 2, 3, 4]` gives every feature a weight at
# each of 2 to 8 s (`hrf=` would fix the shape of the response instead). Folds are consecutive blocks of scans, and a gap
# on both sides of each test block is in neither training nor test: by default as long as the signal resembles itself, at
# least 16 s for fMRI, and at least the longest delay. With shuffled folds, neighbours of every test scan would be in the
# training set; that is refused unless forced.

# %%
delays, penalties = [1, 2, 3, 4], np.logspace(0, 7, 15)
options = {"delays": delays, "alphas": penalties}
base = rc.encode(baseline, average, **options)
fits = {name: rc.encode(layer, average, **options) for name, layer in layers.items()}
print(f"{len(base.folds)} blocks, gap {base.gap} scans; correlation with the average person, per region:")
print("          " + " ".join(f"{region:>6s}" for region in base.unit_ids) + "    mean")
for name, fit in {"baseline": base, **fits}.items():
    print(f"{name:10s}" + " ".join(f"{score:6.2f}" for score in fit.unit_scores) + f"  {fit.score:6.2f}")

# %% [markdown]
# ## Which layer, without choosing on the test data
#
# The layer is a parameter like the penalty. For each test block, it is chosen by folds within the other blocks: the best
# layer on the whole recording would be scored too high.


# %%
def blocks(n, k, gap):
    for block in np.array_split(np.arange(n), k):
        yield np.r_[0 : max(block[0] - gap, 0), min(block[-1] + 1 + gap, n) : n], block


chosen, nested = [], []
splits = list(blocks(n, 5, base.gap))
for train, test in splits:
    inner = [(np.intersect1d(train, far), np.intersect1d(train, block)) for far, block in blocks(n, 5, base.gap)]
    inner = [pair for pair in inner if pair[1].size > 10 and not np.isin(pair[1], test).any()]
    best = max(layers, key=lambda name: rc.encode(layers[name], average, folds=inner, **options).score)
    chosen.append(best)
for fold, best in enumerate(chosen):
    nested.append(rc.encode(layers[best], average, folds=splits, **options).fold_scores[fold])
print("chosen per block:", chosen)
print(
    f"nested {np.mean(nested):.3f}, best of {len(layers)} on the same scans {max(f.score for f in fits.values()):.3f}"
)
best = max(set(chosen), key=chosen.count)

# %% [markdown]
# ## Better than chance?
#
# Exchanging single scans would destroy their resemblance to their neighbours, which chance has too: such a test calls
# nearly everything significant. Whole blocks of scans (as long as the gap, at least 10) change places, the model is
# fitted again, and the largest score over regions corrects for their number. The p-value of the chosen layer still has
# to pay for the choice: times the number of layers. With 199 permutations .005 is the smallest possible.

# %%
for name, source in (("baseline", baseline), (best, layers[best])):
    tested = rc.encode(source, average, permutations=199, null="refit", **options)
    print(f"{name}: p = {tested.pvalue:.3f}; corrected, per region:", tested.pvalues_corrected.round(3).tolist())
print("\n".join(tested.notes))

# %% [markdown]
# ## Beyond the rate of words and the sound
#
# A state that is summed over words knows how many there were. What the language model explains *beyond* the baseline is
# the difference between both together and the baseline alone, on the same blocks, in held-out variance. Each set of
# features (band) has a penalty of its own, so that 384 features do not drown two. Standard errors are over the blocks
# that are left out: with five, a part should be a few of them away from 0.

# %%
both = xr.concat([baseline, layers[best]], "unit")
joint = rc.encode(both, average, model="banded_ridge", bands="unit_space", n_iter=20, **options)
print(f"baseline {base.score:.2f}, {best} {fits[best].score:.2f}, both {joint.score:.2f}")
parts = rc.encode_partition(both, average, bands="unit_space", **options)
print("part of the variance, +- standard error over blocks")
for component in parts["component"].values:
    part, error = (parts[name].sel(component=component).values for name in ("part", "part_se"))
    shown = "   ".join(f"{r} {p:5.2f} +- {e:.2f}" for r, p, e in zip(parts["unit_id"].values, part, error, strict=True))
    print(f"{component:26s} {shown}")

# %% [markdown]
# ## How far from what people share?
#
# The average person is much easier to predict than one person, whose scans are mostly noise. Nothing was repeated, so
# the yardstick comes from other people: the mean of the others' six regions predicts each person on the same blocks. It
# carries what the story evokes in common, and some noise of its own: a model may lie above it without being wrong.
#
# `rc.compare` takes models with options as well, and keeps the scores of all regions of all people.

# %%
people_of_units = brain["unit_subject"].values
others = [
    rc.encode(
        recording(np.delete(signal, i, axis=1).mean(1)),
        brain.isel(unit=np.flatnonzero(people_of_units == person)),
        alphas=penalties,
        folds=splits,
    ).unit_scores
    for i, person in enumerate(people)
]
settings = {"folds": splits, "unit_scores": True, "progress": False}
target = {f"{len(people)} people": brain}
alone = rc.compare({"baseline": baseline, **layers}, target, measures={"ridge": delayed_ridge(**options)}, **settings)
banded = banded_ridge(both["unit_space"].values, n_iter=20, **options)
joined = rc.compare({"both": both}, target, measures={"ridge": banded}, **settings)
scores = rc.concat_scores([alone, joined])

# %%
by_unit = (
    scores["score_unit"]
    .squeeze("measure", drop=True)
    .assign_coords(region=("target_unit", brain["unit_region"].values), person=("target_unit", people_of_units))
)
yardstick = xr.DataArray(np.concatenate(others), dims="target_unit", coords={"region": by_unit["region"]})
table = by_unit.groupby("region").mean().to_pandas().T
table["other people"] = yardstick.groupby("region").mean().to_pandas()
print(table.loc[REGIONS].T.round(3).to_string())

# %% [markdown]
# People are the sample: their spread gives the intervals (mean over regions per person, 1.96 standard errors), and the
# question whether both beat the baseline is asked of one difference per person.

# %%
per_person = by_unit.groupby("person").mean()
gain = (per_person.sel(source="both") - per_person.sel(source="baseline")).values
error = gain.std(ddof=1) / np.sqrt(gain.size)
print(
    f"both - baseline: {gain.mean():.3f} +- {error:.3f} (standard error), {(gain > 0).sum()} of {gain.size} people above 0"
)
reach = 1.96 * per_person.std("person", ddof=1) / np.sqrt(gain.size)
cells = ("source", "target", "measure")
for end, sign in (("low", -1), ("high", 1)):
    scores[f"score_{end}"] = (cells, (per_person.mean("person") + sign * reach).values[:, None, None])
scores["score_ceiling"] = (cells, np.full(scores["score"].shape, yardstick.mean().item()))
figure = rc.plot.layers(
    scores,
    apart=("baseline", "both"),
    ceiling="predicted by other people",
    title=f"Story to six regions of {len(people)} people",
)
figure.axes[0].set_ylabel("correlation on held-out scans")
out = Path(tempfile.mkdtemp()) / "encoding_story_layers.png"
figure.savefig(out)
print(out)
