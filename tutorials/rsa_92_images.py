# %% [markdown]
# # Representational similarity analysis: 92 pictures, monkeys, people and networks
#
# Monkeys and people saw the same 92 pictures (Kriegeskorte et al. 2008). Are their inferior temporal cortices alike?
# Which model explains the human one, how far from the best that the noise allows, and which models really differ?
#
# The recordings are found in `$REPCOMPARE_DATA`; without them the same steps run on simulated subjects.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np

import repcompare as rc

folder = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data")) / "kriegeskorte92"
found = folder.is_dir()
out = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Read the RDMs
#
# MATLAB files of RDMs open as a *set of RDMs*: dissimilarities of named pairs of stimuli, one row per subject or model.
# These files hold no names of pictures; `stimuli="positional"` says that the order is known to be the same. The four
# people were measured twice: two sessions of one person are not two people, so they are averaged first.


# %%
READABLE = {"FaceBodyManmadeNatobj": "four categories", "monkeyIT": "monkey IT", "Silhouette": "silhouettes"}
SIZES = {"body": 12, "face": 12, "animal body": 12, "animal face": 12, "natural object": 23, "artefact": 21}
kinds = np.repeat(list(SIZES), list(SIZES.values()))  # the pictures are stored in this order


def recorded():
    sessions = rc.read(folder / "92_brainRDMs.mat", stimuli="positional")
    people = [
        sessions.isel(rdm=sessions["rdm_row"].values == person)["dissimilarity"].mean("rdm").values
        for person in range(4)
    ]
    names = [f"#{i:04d}" for i in range(92)]
    human = rc.rdm_set(people, stimulus=names, rdm=["BE", "KO", "SN", "TI"], attrs={"distance": "correlation"})
    judged = rc.read(folder / "92_behavRDMs.mat", stimuli="positional")["dissimilarity"].mean("rdm").values
    behaviour = rc.rdm_set([judged], stimulus=names, rdm=["judgements of 16 people"])
    models = rc.merge_sets([rc.read(folder / "92_modelRDMs.mat", stimuli="positional"), behaviour])
    models = models.assign_coords(rdm=[READABLE.get(str(name), str(name)) for name in models["rdm"].values])
    both = rc.read(folder / "Kriegeskorte_Neuron2008_supplementalData.mat", stimuli="positional")
    both = both.assign_coords(rdm=["monkey IT (674 neurons)", "human IT (316 voxels)"])
    activations = np.load(folder / "efficientnet_lite0_activations_92.npz")
    layers = {
        name: rc.representation(activations[name].reshape(92, -1).astype(np.float32), stimulus=names)
        for name in ("stem", "block5", "block10", "block15", "head", "pool", "logits")
    }
    return human, models, both, layers


def simulated():
    rng = np.random.default_rng(0)
    names = [f"#{i:04d}" for i in range(92)]
    latents = np.column_stack([np.repeat([0.0, 2.0], 46), rng.normal(size=(92, 6))])

    def seen(noise):
        return latents @ rng.normal(size=(7, 100)) + noise * rng.normal(size=(92, 100))

    def distances(values):
        return rc.rdm(values, distance="correlation")

    attrs = {"distance": "correlation"}
    human = rc.rdm_set(
        [distances(seen(6)) for _ in range(4)], stimulus=names, rdm=["BE", "KO", "SN", "TI"], attrs=attrs
    )
    sides = [distances(seen(1)), distances(seen(6))]
    both = rc.rdm_set(sides, stimulus=names, rdm=["monkey IT", "human IT"], attrs=attrs)
    animacy = (np.arange(92)[:, None] < 46) != (np.arange(92) < 46)
    models = rc.rdm_set(
        [animacy[np.triu_indices(92, 1)].astype(float), distances(rng.normal(size=(92, 20)))],
        stimulus=names,
        rdm=["animacy", "unrelated"],
    )
    layers = {name: rc.representation(seen(noise), stimulus=names) for name, noise in (("pool", 3), ("logits", 9))}
    return human, models, both, layers


human, models, both, layers = recorded() if found else simulated()
print("recordings" if found else "no recordings found: simulated subjects")
print(human)

# %% [markdown]
# ## Are monkey and human IT alike?
#
# `rho_a` is the default: ranks, without the preference for models that predict ties. Kriegeskorte et al. report a
# Pearson correlation of .49. A permutation of the pictures (rows and columns together) says what chance gives.

# %%
monkey, person = both.isel(rdm=[0]), both.isel(rdm=[1])
print("pearson", round(float(rc.compare_rdms(monkey, person, method="pearson").squeeze()), 2))
print("rho_a", round(float(rc.compare_rdms(monkey, person).squeeze()), 2))

# %%
picture = rc.plot.rdm_panel(both, scale="rank", groups=kinds)
picture.savefig(out / "rdms.png")

# %% [markdown]
# White lines part bodies and faces of people, bodies and faces of animals, natural objects and artefacts. Both brains tell
# the animate from the inanimate, and put faces beside faces, whoever's they are.

# %% [markdown]
# ## Which model explains human IT?
#
# Every model is scored on every person; the network's layers become RDMs on the way (correlation distance). What shall
# the result hold for? Drawing pictures *and* people in the bootstrap asks about other pictures seen by other people;
# its variance is corrected for counting their interaction three times. Drawing pictures alone asks about these people
# and other pictures.

# %%
candidates = {str(name): models.sel(rdm=[name]) for name in models["rdm"].values}
candidates |= {f"EfficientNet {name}": layer for name, layer in layers.items()}
anyone = rc.rsa_inference(candidates, human, method="rho_a", n_bootstraps=1000, permutations=999, seed=0)
result = rc.rsa_inference(candidates, human, method="rho_a", bootstrap="stimuli", permutations=999, seed=0)
for question, answer in (("other pictures, other people", anyone), ("other pictures, these people", result)):
    columns = ["score", "score_low", "score_high", "pvalue_permutation_corrected", "pvalue_ceiling_holm"]
    print(question)
    print(answer[columns].to_dataframe().sort_values("score", ascending=False).round(3).to_string())
lower, upper = float(result["score_ceiling_lower"]), float(result["score_ceiling_upper"])
print(f"noise ceiling {lower:.2f} to {upper:.2f}")

# %%
figure = rc.plot.models(result, title="Models of human IT (four people, 92 pictures)")
figure.savefig(out / "models.png")
print(out)

# %% [markdown]
# How to read it: filled dots lie above chance after correction for the number of models (permuted pictures, maximum
# over models); small dots are the people; lines are 95 % intervals; the band is the noise ceiling, the range that the true
# model would reach; large squares mark pairs of models that differ (Holm over all pairs), for example model 5 from models 1
# and 2. The picture says so below its axes, so that it can be read without this page. For other people too, four are so few
# that hardly any difference can be found: the first table has the same scores and much wider intervals. A missing square is
# not equality. A model below the band with a small `pvalue_ceiling` leaves structure unexplained that people share.
#
# ## Two models at once
#
# Does the network explain something that the category model does not? Partial RSA takes one RDM out of both sides, and
# variance partitioning says what is unique and what is shared, on held-out pictures and people.

# %%
best_layer = max(layers, key=lambda name: float(result["score"].sel(model=f"EfficientNet {name}")))
average = rc.rdm_set(human["dissimilarity"].mean("rdm").values, stimulus=[f"#{i:04d}" for i in range(92)])
animacy = candidates["animacy"]
network = rc.rdm(layers[best_layer])
plain = float(rc.compare_rdms(network, average))
partial = float(rc.compare_rdms(network, average, control=animacy))
print(f"{best_layer}: rho_a {plain:.2f}, without animacy {partial:.2f}")
parts = rc.variance_partitioning(human, {"animacy": animacy, best_layer: network}, seed=0)
print(parts)

# %% [markdown]
# ## A weighted combination
#
# A model may have the right features in the wrong proportions. Non-negative weights of the layers are fitted on some
# pictures and people and scored on others; the score cannot profit from having more parameters.

# %%
mixed = rc.rdm_models.weighted(rc.rdm(layers))  # of several representations one set of RDMs
single = rc.rdm_models.fixed(network, name=best_layer)
flexible = rc.rsa_inference([single, mixed], human, method="pearson", n_bootstraps=200, seed=0)
print(flexible[["score", "score_low", "score_high"]].to_dataframe().round(3).to_string())
