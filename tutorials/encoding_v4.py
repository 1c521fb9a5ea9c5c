# %% [markdown]
# # Encoding models of visual cortex: layers of a network and neurons of V4
#
# Which layer of a network predicts neurons of macaque V4 best, how sure is that, what does a second layer add, and how
# much is there to predict? The recordings are those of Cowley et al. (2023), found in `$REPCOMPARE_DATA`; without them
# the same steps run on simulated neurons and layers.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

import repcompare as rc
from repcompare.measures.encoding.ridge import ridge

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "v4_cowley2023"
found = folder.is_dir()

# %% [markdown]
# ## Neurons, layers and a second recording
#
# Session 190923 is a mean over repeats of 33 neurons and 1200 pictures. Published models of these neurons were fitted
# on the first 600 pictures; we take the other 600, so that the scores can be held against theirs. The activations of
# EfficientNet-Lite0, averaged over space, are matched with the responses by the names of the pictures.
#
# Another animal gave single trials of one session (210325) and the means of another (210322); the two sessions share
# 600 pictures. Only trials tell how noisy the neurons are.


# %%
def recorded():
    activations = np.load(folder / "activations" / "efficientnet_lite0_session190923.npz")
    unseen = slice(600, 1200)
    names = activations["stimulus_id"][unseen]
    responses = np.load(folder / "responses_avg" / "responses_190923.npy").T[unseen]
    layers = {name: activations[name][unseen] for name in activations.files if name not in ("stimulus_id", "logits")}
    shared = np.load(folder / "shared_images_210322_210325.npz")
    trials = np.load(folder / "responses_raw" / "responses_210325.npy").transpose(1, 2, 0)[shared["index_210325"]]
    second = np.load(folder / "responses_avg" / "responses_210322.npy").T[shared["index_210322"]]
    return names, responses, layers, trials, second


def simulated():
    rng = np.random.default_rng(0)
    n, names = 300, np.array([f"image{i:04d}.jpg" for i in range(300)])
    state, layers, inside = rng.normal(size=(n, 40)), {}, []
    for name in ("block0", "block4", "block10", "block15", "pool"):
        state = np.tanh(state @ rng.normal(size=(40, 40)) / 5 + 0.2 * rng.normal(size=(n, 40)))
        layers[name] = state @ rng.normal(size=(40, 50))
        inside.append(state)
    v4 = np.hstack(inside[1:3])

    def neurons(units, noise, repeats):
        signal = v4 @ rng.normal(size=(80, units)) / 5
        return signal[:, None] + noise * rng.normal(size=(n, repeats, units))

    trials = neurons(20, 2.0, 8)
    trials[rng.random(trials.shape[:2]) < 0.2] = np.nan
    return names, neurons(20, 2.0, 14).mean(1), layers, trials, neurons(25, 2.0, 4).mean(1)


names, responses, activations, trials, second = recorded() if found else simulated()
print("recordings" if found else "no recordings found: simulated neurons")
neurons = [f"190923/{i}" for i in range(responses.shape[1])]
brain = rc.representation(responses, stimulus=names, unit_id=neurons, unit_region="V4")
layers = {
    name: rc.representation(
        values, stimulus=names, unit_id=[f"{name}/{i}" for i in range(values.shape[1])], unit_layer=name
    )
    for name, values in activations.items()
}
print({name: layer.sizes["unit"] for name, layer in layers.items()})

# %% [markdown]
# ## Layer by layer
#
# Ridge regression predicts every neuron from every layer on pictures that the fit has not seen (5 folds); the penalty
# is chosen per neuron inside the training pictures of each fold. The score is the correlation per fold, averaged over
# folds and neurons. `unit_scores=True` keeps those of single neurons. Layers differ in the size of their activations,
# so penalties are relative to it (`alpha_scale="trace"`). A note says when neurons choose the end of the grid: where the
# largest penalty is chosen a layer says nothing about the neuron, where it is the smallest the grid should go on.

# %%
model = ridge(alphas=np.logspace(-6, 2, 17), alpha_scale="trace")
scores = rc.compare(layers, {"V4": brain}, measures={"ridge": model}, unit_scores=True, progress=False)
print(rc.table(scores).set_index("source").loc[list(layers), ["score", "n_source_units", "n_target_units"]].round(3))
print("\n".join(scores.attrs.get("warnings", [])))

# %% [markdown]
# ## Is it more than chance, and how sure is it?
#
# `rc.encode` asks the same of one layer and answers more. *Interval*: other pictures of the same kind, by the jackknife
# over pictures that `rc.compare` has too. *p-value*: held-out responses of whole pictures change places, 999 times, with the
# same exchange for all neurons, so that the largest score by chance over neurons gives each neuron a corrected p-value.
# *Both directions*: a layer may contain what the neurons do and much else; predicting the layer from the neurons says how
# much of it they share.

# %%
options = {"alphas": np.logspace(-6, 2, 17), "alpha_scale": "trace"}
fits = {
    name: rc.encode(layer, brain, permutations=999, confidence=0.95, direction="both", **options)
    for name, layer in layers.items()
}
print("layer     score   95 % interval    p       neurons with p < .05 (corrected)   back to the layer")
for name, fit in fits.items():
    n_above = int((fit.pvalues_corrected < 0.05).sum())
    print(
        f"{name:8s} {fit.score:6.3f}   {fit.score_low:.3f} to {fit.score_high:.3f}   {fit.pvalue:.3f}"
        f"   {n_above} of {fit.unit_scores.size}   {fit.score_reverse:.3f}"
    )

# %% [markdown]
# Put the intervals into the table and draw the course over layers; small dots are neurons.

# %%
for end in ("low", "high"):
    values = [getattr(fits[name], f"score_{end}") for name in scores["source"].values.tolist()]
    scores[f"score_{end}"] = (("source", "target", "measure"), np.array(values)[:, None, None])
figure = rc.plot.layers(scores, title="EfficientNet-Lite0 to V4" if found else "Simulated layers to simulated V4")
figure.axes[0].set_ylabel("correlation on held-out pictures")
out = Path(tempfile.mkdtemp()) / "encoding_v4_layers.png"
figure.savefig(out)
print(out)

# %% [markdown]
# ## Which layer wins?
#
# The best of several layers, chosen on the pictures that it is scored on, is too good: of 20 layers that know nothing
# the best one scores .25 with 100 pictures. So the layer is chosen like any other parameter: inside the training
# pictures of each fold, by cross-validation there, and its score is taken from the pictures left out. `best=True` keeps
# what that needs. If the folds choose different layers, the data do not decide between them.

# %%
tried = rc.compare(layers, {"V4": brain}, measures={"ridge": model}, best=True, progress=False)
choice = rc.best(tried)
chosen = choice["selected_source"].squeeze().values.tolist()
print("chosen by each fold:", chosen)
print(f"nested choice {choice['score_best'].item():.3f}, best on all pictures {choice['score_max'].item():.3f}")
best = max(set(chosen), key=chosen.count)

# %% [markdown]
# ## A second layer
#
# Does an early layer add anything? Banded ridge gives each layer a penalty of its own, so that the wide layer cannot
# drown the narrow one. Variance partitioning fits each layer alone and both together, on the same folds: `part` is what
# only one explains, or both alike. Parts can be negative: a layer that only adds noise costs on new pictures.

# %%
names_in_order = list(layers)
early = names_in_order[max(0, names_in_order.index(best) - 2)]
both = xr.concat([layers[early], layers[best]], "unit")
joint = rc.encode(both, brain, model="banded_ridge", bands="unit_layer", n_iter=20)
print(f"{early} and {best}: {joint.score:.3f}; {best} alone {fits[best].score:.3f}")
variance = rc.encode_partition(both, brain, bands="unit_layer")
table = variance[["part", "r2"]].mean("unit").to_dataframe()
table["neurons below 0"] = (variance["part"] < 0).sum("unit")
print(table.round(3).to_string())

# %% [markdown]
# ## How much is there to predict?
#
# The means of session 190923 hold no repeats, so nothing is known about their noise, and a ceiling is refused:

# %%
try:
    rc.compare(layers[best], brain, measures="ridge", ceiling="split_half", progress=False)
except rc.errors.MeasureError as refusal:
    print(refusal)

# %% [markdown]
# Session 210325 has its trials: one row per presentation, with the picture and the repeat. Missing trials are left out.
# Random halves of the repeats say how well one half predicts the other; the Spearman-Brown formula extends that to all
# repeats, and its root bounds the correlation that any model can reach. As the source we take what another
# session of the same animal gave to the same pictures: how well do neurons of V4 predict other neurons of V4?

# %%
there = ~np.isnan(trials[:, :, 0])
picture, repeat = np.nonzero(there)
pictures = np.array([f"shared{i:04d}" for i in range(len(trials))])
single = rc.representation(
    trials[there],
    dims=("presentation", "unit"),
    stimulus_id=pictures[picture],
    repeat=repeat,
    unit_region="V4",
)
other = rc.representation(second, stimulus=pictures, unit_region="V4")
limit = rc.compare({"session 210322": other}, {"session 210325": single}, measures="ridge", ceiling="split_half",
                   unit_scores=True, progress=False)  # fmt: skip
print(rc.table(limit)[["source", "target", "score", "ceiling", "score_normalised"]].round(3).to_string(index=False))

# %% [markdown]
# A score should be read beside this ceiling, and beside what other neurons of the same area reach, which is limited by
# their number and noise.
