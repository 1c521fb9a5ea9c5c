"""The mean shape: known means, a loss that falls, and its local minima."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.barycentre import frechet_mean
from repcompare.measures.matching import permutation
from repcompare.measures.shape import procrustes


def noisy(group, noise, n=25, p=6, members=5, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, p))
    found = []
    for _ in range(members):
        q = np.linalg.qr(rng.normal(size=(p, p)))[0] if group == "rotation" else np.eye(p)[rng.permutation(p)]
        found.append((base + noise * rng.normal(size=(n, p))) @ q + rng.normal(size=p))
    return base, found


def distance(group, x, y, scale=True):
    measure = procrustes if group == "rotation" else permutation
    made = measure(score="euclidean", scale=scale)
    result = made.compare(made.prepared(x), made.prepared(y))
    return result if isinstance(result, float) else result.score


@pytest.mark.parametrize("group", ["rotation", "permutation"])
def test_copies_have_themselves_as_mean(group):
    base, copies = noisy(group, 0.0)
    found = frechet_mean(copies, group)
    assert found.losses[-1] < 1e-20
    assert found.converged
    assert distance(group, found.mean, base) < 1e-9
    np.testing.assert_allclose(found.aligned, np.broadcast_to(found.mean, found.aligned.shape), atol=1e-9)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("group", ["rotation", "permutation"])
def test_the_mean_of_two_lies_half_way(group, scale):
    """min_M d(A, M)^2 + d(B, M)^2 = d(A, B)^2 / 2 for the padded, aligned members."""
    rng = np.random.default_rng(1)
    pair = [rng.normal(size=(20, 6)), rng.normal(size=(20, 4))]
    found = frechet_mean(pair, group, scale=scale)
    assert found.losses[-1] == pytest.approx(distance(group, *pair, scale=scale) ** 2 / 2, rel=1e-7)
    assert found.aligned.shape == (2, 20, 6)


@pytest.mark.parametrize("group", ["rotation", "permutation"])
def test_the_loss_never_increases_and_the_best_start_is_kept(group):
    for seed in range(4):
        _, members = noisy(group, 1.5, seed=seed)
        found = frechet_mean(members, group)
        assert (np.diff(found.losses) <= 1e-14).all()
        assert found.losses[-1] == found.start_losses.min() == found.start_losses[found.start]
        assert found.spread == np.ptp(found.start_losses)
        np.testing.assert_allclose(found.aligned.mean(0), found.mean, atol=1e-14)
        for member, aligned in zip(members, found.aligned, strict=True):
            assert distance(group, member, aligned) < 1e-7  # alignment moves nothing but axes
        members_loss = [sum(distance(group, a, b) ** 2 for b in members) for a in members]
        assert found.losses[-1] <= min(members_loss)  # no member is a better mean


def test_local_minima_of_permutations_are_reported():
    spreads = [frechet_mean(noisy("permutation", 3.0, n=10, seed=seed)[1], "permutation").spread for seed in range(5)]
    assert max(spreads) > 1e-6


def test_recovers_the_common_shape_from_noise():
    base, members = noisy("rotation", 0.5, n=40, members=12)
    mean = frechet_mean(members).mean
    assert distance("rotation", mean, base) < 0.5 * np.mean([distance("rotation", m, base) for m in members])


def test_wide_members_are_reduced_to_the_stimuli():
    rng = np.random.default_rng(0)
    found = frechet_mean([rng.normal(size=(10, 300)), rng.normal(size=(10, 4))])
    assert found.mean.shape == (10, 9)
    assert frechet_mean([rng.normal(size=(10, 30)), rng.normal(size=(10, 4))], "permutation").mean.shape == (10, 30)


def test_errors():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 3))
    with pytest.raises(MeasureError, match="1 members; expected at least 2"):
        frechet_mean([x])
    with pytest.raises(MeasureError, match="8 stimuli against 10"):
        frechet_mean([x, x[:8]])
    with pytest.raises(MeasureError, match="member 1 has values that are not finite"):
        frechet_mean([x, np.where(x > 1, np.nan, x)])
    with pytest.raises(MeasureError, match="member 1: the representation has no variance"):
        frechet_mean([x, np.ones((10, 2))])
    with pytest.raises(MeasureError, match="member V4: the representation has no variance"):
        frechet_mean([x, np.ones((10, 2))], names=["V1", "V4"])
    with pytest.raises(MeasureError, match="member 0 has shape"):
        frechet_mean([x[0], x])
    with pytest.raises(OptionError, match="did you mean 'rotation'"):
        frechet_mean([x, x], "rotations")
    with pytest.raises(OptionError, match="max_iterations=0"):
        frechet_mean([x, x], max_iterations=0)
    assert not frechet_mean([x, rng.normal(size=(10, 3))], max_iterations=1).converged
