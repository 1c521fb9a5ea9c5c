# %% [markdown]
# # A first comparison
#
# Two systems saw the same stimuli: a brain, recorded with noise, and models of it. How alike are they, and can it be
# believed? This tutorial simulates both, so that the truth is known.

# %%
import repcompare as rc

brain, models = rc.simulate.brain_and_models(n_stimuli=100, repeats=4, snr=0.5, seed=1)
brain

# %% [markdown]
# `brain` is a plain `xarray.Dataset`: one row per presentation, one column per unit, and labels. Sources are matched by the
# names of their stimuli, so the order of rows never matters.
#
# One call compares every model by every measure. Three measures look at geometry (are stimuli that are alike in one system
# alike in the other?); `ridge` predicts each unit of the brain on stimuli that the fit has not seen.

# %%
scores = rc.compare(
    models,
    {"brain": brain},
    measures=["cka", "rsa", "procrustes", "ridge"],
    groups="stimulus_category",  # stimuli of one category are held out together
    ceiling="split_half",  # what the noise of the recording allows
    confidence=0.95,  # intervals over stimuli
    permutations=200,  # chance: the same stimuli in another order
    progress=False,
)
table = rc.table(scores)
table[["source", "measure", "score", "ceiling", "score_normalised", "low", "high", "pvalue_corrected"]].round(3)

# %% [markdown]
# The model that shares everything comes close to the ceiling, the one that shares nothing stays near zero, and its p-value
# says so. `procrustes` is a distance (an angle in rad): less is better, and unrelated systems are never far from the
# largest angle nor at it; compare it with its permutations, not with zero.

# %%
best = table[table.source == "shares_all"].set_index("measure")
none = table[table.source == "shares_none"].set_index("measure")
assert best.score_normalised["cka"] > 0.8
assert abs(none.score["cka"]) < 0.1
assert best.pvalue_corrected["rsa"] < 0.05 < none.pvalue_corrected["rsa"]

# %% [markdown]
# Everything that was decided stands in the attributes: the seed, the policies, a hash of each input, and warnings.

# %%
for warning in scores.attrs["warnings"]:
    print(warning)

# %% [markdown]
# A picture, and a file that keeps the numbers with their labels and record:

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
rc.plot.scores(scores, baseline="shares_none", title="Three models of one simulated brain").savefig(
    folder / "scores.png"
)
rc.save(scores, folder / "scores.nc")
rc.open(folder / "scores.nc").score.sel(measure="cka").values

# %% [markdown]
# For a single number between two arrays whose rows match there are direct functions.

# %%
x = models["shares_all"].response.values
y = models["shares_half"].response.values
print(f"debiased CKA {rc.cka(x, y):.3f}, biased {rc.cka(x, y, estimator='biased'):.3f}, RSA {rc.rsa(x, y):.3f}")
