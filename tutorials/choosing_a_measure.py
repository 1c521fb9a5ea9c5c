# %% [markdown]
# # Choosing an alignment measure
#
# Two populations of neurons saw the same pictures. Every measure below says how alike they are, and each means something
# else by it. The number alone is not enough: unrelated systems do not score 0 by most of them. So each stands beside its
# floor, the mean score of the same two systems with the pictures of one of them in another order.
#
# Two sessions of macaque V4 (Cowley et al. 2023), 600 pictures that both saw, where these recordings lie in
# `$REPCOMPARE_DATA`; simulated ones otherwise. Different sessions hold different neurons: units need not correspond.

# %%
import os
from pathlib import Path

import numpy as np

import repcompare as rc
from repcompare.measures.stochastic import energy_shape, stochastic_shape

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "v4_cowley2023"


def sessions():
    if not folder.is_dir():
        print("no recordings found: simulating two samples of one population")
        brain, models = rc.simulate.brain_and_models(n_stimuli=600, n_units=50, repeats=4)
        return rc.average_repeats(brain), models["shares_all"]
    pairs = np.load(folder / "shared_images_210322_210325.npz")
    names = [f"picture{i:03d}" for i in range(600)]
    found = []
    for session in ("210322", "210325"):
        values = np.load(folder / "responses_avg" / f"responses_{session}.npy")[:, pairs[f"index_{session}"]]
        attrs = {"modality": "spikes", "response_units": "count"}
        found.append(rc.representation(values.T, stimulus=names, unit_region="V4", attrs=attrs))
    return tuple(found)


first, second = sessions()

# %% [markdown]
# All measures of the menu that need one response per stimulus, in their default forms, and ten permutations for the floor.
# What needs more than that (trials, counts, labels, rows in time) says so under "needs"; the two that need trials follow
# below.

# %%
menu = rc.measures()
names = menu.loc[menu["needs"] == "", "measure"].tolist()
scores = rc.compare(first, second, measures=names, permutations=10, n_jobs=2, progress=False)

table = menu.set_index("measure").loc[names, ["kind", "range", "metric", "held_out"]]
table["score"] = scores.score.values.ravel()
table["floor"] = scores.score_floor.values.ravel()
table["reason"] = scores.reason.values.ravel()
print(table.drop(columns="reason").round(3).to_string())
for name, reason in table["reason"].items():
    if reason:
        print(f"{name}: {reason}")

# %% [markdown]
# ## Two measures that need single trials
#
# `stochastic_shape` and `energy_shape` compare how responses are distributed over the repeats of a picture, not their means
# alone. The averages above cannot feed them: of the first session no single trials are published. So here two halves of
# the neurons of the second session, with the trials of the 100 pictures shown first (6 to 10 each, of which the first 6 are
# used); simulated trials where there are no recordings. Both halves were recorded together. Only the distribution of each
# half enters, not what they share from trial to trial.


# %%
def single_trials():
    if not folder.is_dir():
        print("no recordings found: simulating trials")
        return rc.simulate.brain_and_models(n_stimuli=100, n_units=50, repeats=6)[0]
    raw = np.load(folder / "responses_raw" / "responses_210325.npy")[
        :, :100
    ]  # neurons, pictures, repeats; padded with NaN
    picture, repeat = np.nonzero(np.isfinite(raw[0]))
    return rc.representation(
        raw[:, picture, repeat].T,
        dims=("presentation", "unit"),
        stimulus_id=[f"picture{i:03d}" for i in picture],
        repeat=repeat,
        attrs={"modality": "spikes", "response_units": "count"},
    )


def in_another_order(ds, seed):
    """The same trials under the names of other pictures: what is left is the floor."""
    pictures, index = np.unique(ds["stimulus_id"].values, return_inverse=True)
    return ds.assign_coords(stimulus_id=("presentation", np.random.default_rng(seed).permutation(pictures)[index]))


trials = single_trials()
halves = [trials.isel(unit=slice(start, None, 2)) for start in (0, 1)]
with_trials = {
    name: make(n_restarts=3)
    for name, make in {"stochastic_shape": stochastic_shape, "energy_shape": energy_shape}.items()
}


def distances(one, other):
    return rc.compare(one, other, measures=with_trials, progress=False).score.values.ravel()


found = distances(*halves)
floors = np.mean([distances(halves[0], in_another_order(halves[1], seed)) for seed in range(4)], axis=0)
for name, value, floor in zip(with_trials, found, floors, strict=True):
    print(f"{name}: {value:.3f} with the same pictures, {floor:.3f} with others (in response units, smaller is nearer)")
assert (found < floors).all()

# %% [markdown]
# How to read it, and what to choose:
#
# - **Do the two systems set the same stimuli apart?** `cka` (debiased) and `rsa`. Their floor is 0: what is above it is
#   shared geometry. With `estimator="biased"` CKA rises with the number of units for unrelated data; compare it only with
#   its floor. Linear biased CKA, RV and whitened-cosine RSA are one number, not three findings.
# - **How far apart are they, as a distance that clusters and embeds?** `procrustes`, `shape_distance`: metrics (column
#   `metric`). Unrelated systems are not at the largest distance but at the floor.
# - **Is there a linear map between them?** `ridge` (directional, held out, per unit), `cca` (symmetric, held out). In-sample
#   forms (`svcca`, `pwcca`, `linear_r2`) grow with the number of units and need their floor.
# - **Do single units correspond?** `soft_match`, `one_to_one`, `semi_match`: they change when the axes are rotated, the
#   others do not. `rc.axis_alignment` says by how much.
# - **Do they also vary alike from trial to trial?** `stochastic_shape` (means and covariances), `energy_shape` (whole
#   distributions; unbiased by few trials). Both are in response units: standardise units first if these differ.
# - **Are the neighbours the same?** `mutual_knn`, `cknna`: local geometry, insensitive to what is far apart.
#
# Similarities must lie above their floor and distances below it, or there is nothing to interpret.

# %%
usable = table[table["reason"] == ""]
similar = usable[usable["kind"] != "distance"]
assert (similar["score"] > similar["floor"]).mean() > 0.8
print(f"{(similar['score'] > similar['floor']).sum()} of {len(similar)} similarities lie above their floor")

# %% [markdown]
# Which pictures carry the result? `influence` takes each away in turn, exactly and at no cost.

# %%
print(rc.influence(first, second))
