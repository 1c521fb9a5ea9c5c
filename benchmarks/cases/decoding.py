"""Decoding with permutations against scikit-learn, and temporal generalisation against MNE, on the same folds."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import cross_val_predict

import repcompare as rc
from cases._case import Case, Target, largest

ALL = (
    "ours decodes all permutations, the peer one set of labels in {}: multiply the ratio by {}; balanced accuracies of the "
    "true labels and of the first permutations are compared"
)


def _trials(rng: np.random.Generator, quick: bool) -> Data:
    n, p, classes, count = (48, 60, 4, 20) if quick else (160, 500, 8, 1000)
    labels = np.arange(n) % classes
    x = rng.normal(size=(n, p)) + 0.2 * rng.normal(size=(classes, p))[labels]
    fold = (np.arange(n) // classes) % 5
    folds = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(5)]
    size = f"n={n} p={p} classes={classes} k=5 permutations={count}"
    return Data(size=size, x=x, labels=labels, folds=folds, fold=fold, count=count, alpha=0.1)


def _sets(data: Data, count: int) -> np.ndarray:
    """The true labels and ``count`` permuted ones, as :func:`repcompare.decode` draws them."""
    from repcompare.measures._measure import Folds
    from repcompare.statistics.label_permutations import permuted_labels

    drawn = permuted_labels(data.labels, data.count, Folds(tuple(data.folds), len(data.labels)), seed=0)
    return np.concatenate([data.labels[None], drawn.codes[:count]])


def _ours(model: str, **options: Any):
    def run(data: Data) -> np.ndarray:
        found = rc.decode(data.x, data.labels, model=model, folds=data.folds, permutations=data.count, **options)
        return np.concatenate([[found.score], found.null_scores])

    return run


def _peer(estimator: Any, every: int):
    """Refit one set of labels in ``every``, as permutation_test_score does, on the same folds and permutations."""

    def run(data: Data) -> np.ndarray:
        scores = []
        for labels in _sets(data, max(1, (data.count + 1) // every - 1)):
            decoded = cross_val_predict(estimator(data), data.x, labels, cv=data.folds)
            table = confusion_matrix(labels, decoded)
            scores.append(np.mean(np.diagonal(table) / table.sum(axis=1)))
        return np.array(scores)

    return run


def _agree(ours: np.ndarray, peer: np.ndarray) -> float:
    return largest(ours[: len(peer)], peer)


def _ridge(data: Data) -> Any:
    spread = np.square(data.x - data.x.mean(axis=0)).sum() / data.x.shape[1]
    return RidgeClassifier(alpha=data.alpha * spread)


def _times(rng: np.random.Generator, quick: bool, units: int = 200) -> Data:
    n, p, t = (40, 20, 10) if quick else (120, units, 100)
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, p, t)) + 0.3 * labels[:, None, None] * rng.normal(size=(1, p, 1))
    fold = (np.arange(n) // 2) % 5
    folds = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(5)]
    return Data(size=f"n={n} p={p} times={t} x {t} k=5", x=x, labels=labels, folds=folds)


def _ours_times(data: Data) -> np.ndarray:
    found = rc.decode(data.x, data.labels, folds=data.folds, shrinkage=0.3, generalize=True, scoring="accuracy")
    return np.asarray(found.score)


def _mne_times(data: Data) -> np.ndarray:
    from mne.decoding import GeneralizingEstimator

    estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
    maps, sizes = [], []
    for train, test in data.folds:
        fitted = GeneralizingEstimator(estimator, scoring="accuracy", n_jobs=1, verbose=False)
        fitted.fit(data.x[train], data.labels[train])
        maps.append(fitted.score(data.x[test], data.labels[test]))
        sizes.append(len(test))
    return np.average(maps, axis=0, weights=sizes)


def _layers(rng: np.random.Generator, quick: bool) -> Data:
    data = _trials(rng, quick)
    names = [f"s{i:03}" for i in range(len(data.labels))]
    parts = [data.x + k * rng.normal(size=data.x.shape) for k in range(4)]
    layers = {f"l{k}": rc.representation(x, stimulus=names, stimulus_kind=data.labels) for k, x in enumerate(parts)}
    target = rc.label_target(layers["l0"], "stimulus_kind")
    return Data(**(vars(data) | {"layers": layers, "target": target, "parts": parts, "size": f"{data.size} layers=4"}))


def _ours_layers(data: Data) -> np.ndarray:
    scores = rc.compare(
        data.layers,
        data.target,
        measures="ridge_classifier",
        folds=data.folds,
        permutations=data.count,
        hash_inputs=False,
        progress=False,
    )
    return scores["score"].values.ravel()


def _peer_layers(data: Data) -> np.ndarray:
    run = _peer(_ridge, 20)
    return np.array([run(Data(**(vars(data) | {"x": x})))[0] for x in data.parts])


def _lda(shrinkage: Any):
    return lambda data: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)


CASES = [
    Case(
        name="decode_ridge_permutations",
        peer_name="scikit-learn RidgeClassifier refitted",
        library="sklearn",
        make=_trials,
        ours=_ours("ridge"),
        peer=_peer(_ridge, 20),
        agree=_agree,
        tolerance=1e-12,
        target=Target("faster", 500 / 20),
        note=ALL.format(20, 20),
    ),
    Case(
        name="decode_lda_permutations",
        peer_name="scikit-learn LDA (lsqr, shrinkage=0.3) refitted",
        library="sklearn",
        make=_trials,
        ours=_ours("lda", shrinkage=0.3),
        peer=_peer(_lda(0.3), 100),
        agree=_agree,
        tolerance=1e-12,
        target=Target("faster", 200 / 100),
        note=ALL.format(100, 100),
    ),
    Case(
        name="decode_lda_auto_permutations",
        peer_name="scikit-learn LDA (lsqr, shrinkage='auto') refitted",
        library="sklearn",
        make=_trials,
        ours=_ours("lda"),
        peer=_peer(_lda("auto"), 100),
        agree=_agree,
        tolerance=1e-12,
        note=ALL.format(100, 100) + "; the shrinkage depends on the labels, so both refit",
    ),
    Case(
        name="decode_generalize",
        peer_name="MNE GeneralizingEstimator, LDA (lsqr, shrinkage=0.3)",
        library="mne",
        make=_times,
        ours=_ours_times,
        peer=_mne_times,
        agree=largest,
        tolerance=1e-12,
        target=Target("faster", 10),
    ),
    Case(
        name="decode_generalize_few_units",
        peer_name="MNE GeneralizingEstimator, LDA (lsqr, shrinkage=0.3)",
        library="mne",
        make=partial(_times, units=60),
        ours=_ours_times,
        peer=_mne_times,
        agree=largest,
        tolerance=1e-12,
        target=Target("faster", 10),
    ),
    Case(
        name="decode_layers_as_measures",
        peer_name="scikit-learn RidgeClassifier refitted",
        library="sklearn",
        make=_layers,
        ours=_ours_layers,
        peer=_peer_layers,
        agree=_agree,
        tolerance=1e-12,
        target=Target("faster", 500 / 20),
        note=ALL.format(20, 20) + "; 4 layers x 1 set of labels through compare()",
    ),
]
