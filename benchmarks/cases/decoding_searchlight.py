"""Decoding searchlights against a loop of scikit-learn with permutations, and against nilearn without."""

from __future__ import annotations

import warnings
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import LeaveOneGroupOut, PredefinedSplit, cross_val_predict

import repcompare as rc
from cases._case import Case, Target, largest

VOLUME, SMALL = (44, 46, 42), (9, 9, 9)
LOOP_SPHERES, LOOP_SETS = 2, 20  # of the peer's loop


class FixedLda(ClassifierMixin, BaseEstimator):
    """scikit-learn's LDA with covariance (S_w + penalty I) / n: its ``shrinkage`` follows from the training rows."""

    def __init__(self, alpha: float = 0.1, scale: float = 1.0) -> None:
        self.alpha = alpha
        self.scale = scale

    def fit(self, x: np.ndarray, y: np.ndarray) -> FixedLda:
        self.classes_, codes = np.unique(y, return_inverse=True)
        means = np.stack([x[codes == k].mean(axis=0) for k in range(len(self.classes_))])
        within = np.square(x - means[codes]).sum()
        penalty = self.alpha * self.scale
        share = penalty / (penalty + within / x.shape[1])
        self.inner_ = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(x, y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.inner_.predict(x)


def _volume(classes: int, n_centres: int, count: int) -> Any:
    """A volume of 12 runs; ``n_centres`` whole spheres of it, one after the other, are decoded."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        shape, runs, each = (SMALL, 4, 8) if quick else (VOLUME, 12, 8)
        sets, radius = (min(count, 20), 2.0) if quick else (count, 3.0)
        places = np.indices(shape).reshape(3, -1).T
        lists = rc.neighbourhoods(places, radius=radius)
        whole = np.flatnonzero(lists.sizes == lists.full)
        start = (len(whole) - n_centres) // 2 if len(whole) > n_centres else 0
        centres = whole[start : start + n_centres]
        chosen = set(centres.tolist())
        labels, run = np.tile(np.arange(classes), runs * each // classes), np.repeat(np.arange(runs), each)
        code = 0.3 * rng.normal(size=(classes, len(places)))[labels]
        return Data(
            size=f"{len(centres)} spheres of {lists.full}, n={len(run)} classes={classes} k={runs} permutations={sets}",
            values=(rng.normal(size=(len(run), len(places))) + code).astype(np.float32),
            places=places,
            shape=shape,
            radius=radius,
            centres=centres,
            lists=rc.neighbourhoods(lists=[lists.of(u) if u in chosen else [] for u in range(len(places))]),
            labels=labels,
            run=run,
            count=sets,
        )

    return make


def _ours(data: Data, **options: Any) -> Any:
    return rc.searchlight(
        (data.values, data.places),
        labels=data.labels,
        groups=data.run,
        folds="loo",
        neighbours=data.lists,
        permutations=data.count,
        progress=False,
        **options,
    )


def _scale(part: np.ndarray) -> float:
    return float(np.square(part - part.mean(axis=0)).sum() / part.shape[1])


def _sets(data: Data, count: int) -> np.ndarray:
    """The true labels and ``count`` permuted ones, within runs."""
    rng = np.random.default_rng(0)
    drawn = np.tile(data.labels, (count, 1))
    for run in np.unique(data.run):
        drawn[:, data.run == run] = rng.permuted(drawn[:, data.run == run], axis=1)
    return np.concatenate([data.labels[None], drawn])


def _loop(data: Data) -> np.ndarray:
    """Refit the first spheres with some sets of labels, as permutation_test_score does; scores of the true labels."""
    found = []
    for centre in data.centres[:LOOP_SPHERES]:
        part = data.values[:, data.lists.of(int(centre))].astype(np.float64)
        model = FixedLda(scale=_scale(part))
        for number, labels in enumerate(_sets(data, LOOP_SETS - 1)):
            decoded = cross_val_predict(model, part, labels, groups=data.run, cv=LeaveOneGroupOut())
            if number == 0:
                table = confusion_matrix(labels, decoded)
                found.append(np.mean(np.diagonal(table) / table.sum(axis=1)))
    return np.array(found)


def _first(data: Data) -> np.ndarray:
    return _ours(data)["score"].values[data.centres]


def _first_agree(ours: np.ndarray, peer: np.ndarray) -> float:
    return largest(ours[: len(peer)], peer)


def _nilearn(data: Data) -> np.ndarray:
    """SearchLight with LDA of a fixed shrinkage; the radius excludes nothing: voxels have steps of 1 mm."""
    import nibabel
    from nilearn.decoding import SearchLight

    image = nibabel.Nifti1Image(data.values.T.reshape(*data.shape, -1), np.eye(4))
    mask = nibabel.Nifti1Image(np.ones(data.shape, np.uint8), np.eye(4))
    centres = np.zeros(data.shape, np.uint8)
    centres.flat[data.centres] = 1
    light = SearchLight(
        mask,
        process_mask_img=nibabel.Nifti1Image(centres, np.eye(4)),
        radius=data.radius + 1e-6,
        estimator=LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
        cv=PredefinedSplit(data.run),
        scoring="accuracy",
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the estimator is not one of its own
        light.fit(image, data.labels)
    return np.asarray(light.scores_).ravel()[data.centres]


def _ours_accuracy(data: Data) -> np.ndarray:
    # a share of the covariance, as the peer's: one problem per fold; alpha=0.1 would need one per sphere
    return _ours(data, shrinkage=0.1, scoring="accuracy")["score"].values[data.centres]


def _ours_alpha(data: Data) -> np.ndarray:
    return _ours(data, scoring="accuracy")["score"].values[data.centres]


def _near(ours: np.ndarray, peer: np.ndarray) -> float:
    """Other penalties: the mean scores of the maps differ by little."""
    return abs(float(np.mean(ours) - np.mean(peer)))


LOOP = (
    f"ours decodes all spheres and sets of labels, the peer {LOOP_SPHERES} spheres with {LOOP_SETS} sets: multiply the "
    "ratio by {}; scores of the true labels are compared"
)

CASES = [
    Case(
        name="searchlight_lda_permutations",
        peer_name="scikit-learn cross_val_predict refitted per sphere and permutation (LDA lsqr, same covariance)",
        library="sklearn",
        make=_volume(2, 500, 1000),
        ours=_first,
        peer=_loop,
        agree=_first_agree,
        tolerance=1e-12,
        target=Target("faster", 1000 / (500 * 1001 / (LOOP_SPHERES * LOOP_SETS))),
        note=LOOP.format(f"{500 * 1001 / (LOOP_SPHERES * LOOP_SETS):.0f}"),
    ),
    Case(
        name="searchlight_lda_8_classes_permutations",
        peer_name="scikit-learn cross_val_predict refitted per sphere and permutation (LDA lsqr, same covariance)",
        library="sklearn",
        make=_volume(8, 100, 1000),
        ours=_first,
        peer=_loop,
        agree=_first_agree,
        tolerance=1e-12,
        note=LOOP.format(f"{100 * 1001 / (LOOP_SPHERES * LOOP_SETS):.0f}"),
    ),
    Case(
        name="searchlight_lda_map_nilearn",
        peer_name="nilearn SearchLight, LDA (lsqr, shrinkage=0.1)",
        library="nilearn",
        make=_volume(2, 400, 0),
        ours=_ours_alpha,
        peer=_nilearn,
        agree=_near,
        tolerance=0.02,
        target=Target("faster", 10),
        note="ours shrinks by a share of the total scatter, the peer by a share of the covariance: means of the maps agree",
    ),
    Case(
        name="searchlight_lda_same_shrinkage_nilearn",
        peer_name="nilearn SearchLight, LDA (lsqr, shrinkage=0.1)",
        library="nilearn",
        make=_volume(2, 400, 0),
        ours=_ours_accuracy,
        peer=_nilearn,
        agree=largest,
        tolerance=1e-12,
        note="ours takes the path without a kernel here: the same scores to the last digit",
    ),
]
