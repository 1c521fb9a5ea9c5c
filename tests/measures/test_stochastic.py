"""Stochastic shape metrics: against a search over all rotations of the plane, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import stochastic
from repcompare.measures._units import haar
from repcompare.measures.shape import procrustes
from repcompare.measures.stochastic import energy_shape, stochastic_shape
from tests import naive_matching


def outcome(measure, x, y):
    return measure.compare(measure.prepared(x), measure.prepared(y))


def systems(n=8, p=2, q=2, repeats=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    spread = rng.uniform(0.2, 1.5, size=(n, 2))
    return [(z + spread * rng.normal(size=(repeats, n, 2))) @ rng.normal(size=(2, width)) + 3.0 for width in (p, q)]


def plane(angles=4000):
    for angle in np.linspace(0, 2 * np.pi, angles):
        c, s = np.cos(angle), np.sin(angle)
        yield np.array([[c, -s], [s, c]])
        yield np.array([[c, s], [s, -c]])


def roots(x):
    """Symmetric roots of the covariances over repeats (n_stimuli, p, p)."""
    found = []
    for z in range(x.shape[1]):
        values, vectors = np.linalg.eigh(np.cov(x[:, z].T))
        found.append(vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T)
    return np.array(found)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_gaussian_form_reaches_the_minimum_over_all_rotations_of_the_plane(alpha, seed):
    x, y = systems(seed=seed)
    means = [v.mean(0) - v.mean((0, 1)) for v in (x, y)]
    spreads = [roots(v) for v in (x, y)]
    values = [(naive_matching.stochastic_objective(means, spreads, q, alpha), i) for i, q in enumerate(plane(400))]
    rough = min(values)[0]
    found = outcome(stochastic_shape(alpha), x, y)
    assert found.score**2 <= rough + 1e-10
    assert found.score**2 == pytest.approx(rough, rel=1e-3)
    assert found.counts["restarts_that_agree"] >= 1


def shrunk(x):
    """Roots of the covariances that scikit-learn shrinks, with the denominator n_repeats - 1 (n_stimuli, p, p)."""
    found = []
    for z in range(x.shape[1]):
        rows = x[:, z] - x[:, z].mean(0)
        values, vectors = np.linalg.eigh(ledoit_wolf(rows, assume_centered=True)[0] * len(x) / (len(x) - 1))
        found.append(vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T)
    return np.array(found)


@pytest.mark.parametrize("group", ["rotation", "permutation"])
@pytest.mark.parametrize("dims", [(5, 9), (12, 4), (3, 2)], ids=str)  # repeats, units
def test_shrunk_covariances_are_those_of_scikit_learn(group, dims):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(dims[0], 7, dims[1])) * np.arange(1, dims[1] + 1) + 4
    x[:, 2] = x[0, 2]  # a stimulus without any noise
    state = stochastic_shape(covariance="shrinkage", group=group).prepared(x)
    assert state.roots.shape == (7, dims[1], dims[1])
    expected = np.square(shrunk(np.delete(x, 2, 1))).sum(axis=(1, 2))  # traces do not depend on the axes
    np.testing.assert_allclose(np.delete(np.square(state.roots).sum(axis=(1, 2)), 2), expected, rtol=1e-10)
    assert np.abs(state.roots[2]).max() < 1e-12
    if group == "permutation":
        np.testing.assert_allclose(np.delete(state.roots, 2, 0), shrunk(np.delete(x, 2, 1)), atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_shrunk_form_reaches_the_minimum_over_all_rotations_of_the_plane(alpha):
    x, y = systems(repeats=4)
    means, spreads = [v.mean(0) - v.mean((0, 1)) for v in (x, y)], [shrunk(v) for v in (x, y)]
    rough = min(naive_matching.stochastic_objective(means, spreads, q, alpha) for q in plane(400))
    found = outcome(stochastic_shape(alpha, covariance="shrinkage"), x, y)
    assert found.score**2 <= rough + 1e-10
    assert found.score**2 == pytest.approx(rough, rel=1e-3)
    assert abs(found.score - outcome(stochastic_shape(alpha), x, y).score) > 1e-3


@pytest.mark.parametrize("group", ["rotation", "permutation"])
def test_shrunk_moved_copies_silent_units_and_unequal_widths(group):
    x, y = systems(n=10, p=5, q=3, repeats=4)
    rng = np.random.default_rng(0)
    x, y = x + rng.normal(size=x.shape), y + rng.normal(size=y.shape)
    turn = haar(5, rng) if group == "rotation" else np.eye(5)[rng.permutation(5)]
    silent = np.concatenate([3e3 + x @ turn, np.full((4, 10, 2), 1e4)], axis=2)
    measure = stochastic_shape(group=group, covariance="shrinkage", n_restarts=6)
    assert outcome(measure, x, silent).score < 1e-6
    there, back = outcome(measure, x, y).score, outcome(measure, y, x).score
    assert outcome(measure, silent, y).score == pytest.approx(there, rel=0.02)
    assert there == pytest.approx(back, rel=0.02)
    wide = rng.normal(size=(3, 4, 40))
    assert measure.prepared(wide).values.shape[2] == (11 if group == "rotation" else 40)
    assert np.isfinite(outcome(measure, wide, y[:3, :4]).score)


def test_shrinkage_fades_with_repeats():
    rng = np.random.default_rng(0)
    spreads = rng.normal(size=(2, 6, 3, 3))  # two systems that truly differ
    gaps = []
    for repeats in (5, 400):
        x, y = (np.einsum("rzi,zij->rzj", rng.normal(size=(repeats, 6, 3)), spread) for spread in spreads)
        both = [outcome(stochastic_shape(covariance=c, n_restarts=3), x, y).score for c in ("sample", "shrinkage")]
        gaps.append(abs(both[0] - both[1]) / both[0])
    assert gaps[1] < 0.05 < gaps[0]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_energy_form_reaches_the_minimum_over_all_rotations_of_the_plane(exponent):
    x, y = systems()
    y = y + np.arange(8)[:, None]  # far apart, so that nothing is clipped
    a, b = (v - v.mean((0, 1)) for v in (x, y))

    def mean_power(first, second, turn, distinct):
        pairs = [(r, s) for r in range(5) for s in range(5) if not (distinct and r == s)]
        return np.mean([np.linalg.norm(first[r] - second[s] @ turn, axis=1) ** exponent for r, s in pairs])

    selves = (mean_power(a, a, np.eye(2), True) + mean_power(b, b, np.eye(2), True)) / 2
    rough = min(mean_power(a, b, turn, False) for turn in plane(300)) - selves
    found = outcome(energy_shape(exponent), x, y)
    assert found.notes == ()
    assert found.score**2 <= rough + 1e-10
    assert found.score**2 == pytest.approx(rough, rel=2e-3)


def test_alpha_2_is_the_distance_of_the_means():
    x, y = systems(n=12, p=4, q=3)
    made = procrustes("euclidean", scale=False)
    means = made.compare(made.prepare(x.mean(0)), made.prepare(y.mean(0)))
    assert outcome(stochastic_shape(2.0), x, y).score == pytest.approx(np.sqrt(2 / 12) * means, rel=1e-7)


def test_energy_at_2_is_the_distance_of_the_means_less_their_noise():
    x, y = systems(n=12, p=4, q=3, repeats=6)
    y = 4 * y
    made = procrustes("euclidean", scale=False)
    means = made.compare(made.prepare(x.mean(0)), made.prepare(y.mean(0))) ** 2 / 12
    noise = sum(v.var(axis=0, ddof=1).sum(axis=1).mean() / 6 for v in (x, y))
    assert outcome(energy_shape(2.0), x, y).score ** 2 == pytest.approx(means - noise, rel=1e-7)


@pytest.mark.parametrize("measure", [stochastic_shape(0.5), energy_shape(0.8)], ids=lambda m: m.name)
def test_the_loss_never_increases(measure, monkeypatch):
    x, y = systems(n=10, p=4, q=4)
    runs = []
    descend = stochastic._descend

    def watched(of, turn, nearest):
        run = []
        runs.append(run)

        def told(turn):
            loss, product = of(turn)
            run.append(loss)
            return loss, product

        return descend(told, turn, nearest)

    monkeypatch.setattr(stochastic, "_descend", watched)
    outcome(measure, x, y)
    assert len(runs) == 20
    for run in runs:
        assert (np.diff(run) <= 1e-12 * run[0]).all()
    settled = sum(run[-1] <= min(r[-1] for r in runs) * (1 + 1e-6) for run in runs)
    assert settled >= 2


@pytest.mark.parametrize("group", ["rotation", "permutation"])
def test_moved_copies_and_silent_units(group):
    x, y = systems(n=10, p=5, q=3, repeats=4)
    rng = np.random.default_rng(0)
    turn = haar(5, rng) if group == "rotation" else np.eye(5)[rng.permutation(5)]
    silent = np.concatenate([x @ turn + 2, np.full((4, 10, 2), 1e4)], axis=2)
    for measure in (stochastic_shape(group=group, n_restarts=3), energy_shape(group=group, n_restarts=3)):
        assert outcome(measure, x, silent).score < 1e-6
        assert outcome(measure, silent, y).score == pytest.approx(outcome(measure, x, y).score, rel=1e-5, abs=1e-9)


def test_unequal_repeats_wide_float32_and_few_stimuli():
    rng = np.random.default_rng(0)
    measure = stochastic_shape(n_restarts=2)
    x, y = rng.normal(size=(3, 4, 40)), rng.normal(size=(6, 4, 5))
    assert measure.prepared(x).values.shape == (3, 4, 11)
    there, back = outcome(measure, x, y).score, outcome(measure, y, x).score
    assert there == pytest.approx(back, rel=0.05)  # restarts differ; the minimum need not
    small = outcome(measure, 1e-6 * x, 1e-6 * y).score
    assert small == pytest.approx(1e-6 * there, rel=1e-6)
    assert outcome(measure, x.astype(np.float32), y).score == pytest.approx(there, rel=1e-4)


def test_same_distribution_is_near_zero_by_energy_and_clipping_is_said():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6, 2)) + 3 * rng.normal(size=(6, 2))
    clipped = outcome(energy_shape(n_restarts=2), x, x)
    assert clipped.score == 0
    assert clipped.notes[0].startswith("energy_clipped: the estimate of d^2 is -")


def test_errors():
    x, y = systems()
    for measure in (stochastic_shape(), energy_shape()):
        with pytest.raises(MeasureError, match="1 repeats; a distribution needs at least 2"):
            measure.prepared(x[:1])
        with pytest.raises(MeasureError, match="8 stimuli against 5"):
            outcome(measure, x, y[:, :5])
        with pytest.raises(MeasureError, match="no variance"):
            measure.prepared(np.ones((3, 5, 2)))
    with pytest.raises(MeasureError, match="2 repeats; covariance='shrinkage' needs at least 3"):
        stochastic_shape(covariance="shrinkage").prepared(x[:2])
    for make, message in (
        (lambda: stochastic_shape(covariance="shrunk"), "covariance='shrunk' is not an option"),
        (lambda: stochastic_shape(2.5), "alpha=2.5"),
        (lambda: energy_shape(0.0), "exponent=0"),
        (lambda: energy_shape(n_restarts=0), "n_restarts=0"),
        (lambda: stochastic_shape(group="soft"), "group='soft' is not an option"),
    ):
        with pytest.raises(OptionError, match=message):
            make()
