"""The demo: the main job on real recordings, and the same steps on simulated ones."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest

import repcompare as rc
from repcompare.demo import _block, _match, _worm, run_demo
from repcompare.errors import MissingExtraError


@pytest.fixture(scope="module")
def worm():
    try:
        distribution("wormneuroatlas")
    except PackageNotFoundError:
        pytest.skip('the recordings are not installed: pip install "repcompare[demo]"')
    return _worm()


def test_simulated_demo_ranks_the_models_by_what_they_share(tmp_path):
    report = run_demo(tmp_path / "out", simulated=True, progress=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.nc", "scores.png"]
    scores = rc.open(tmp_path / "out" / "scores.nc").isel(target=0)
    for measure in ("rsa", "cka", "ridge"):
        full, half, none = scores.score.sel(measure=measure, source=["shares_all", "shares_half", "shares_none"]).values
        assert full > half + 0.1
        assert half > none + 0.1
    assert np.isfinite(scores.score).all()
    assert scores.score_pvalue.sel(source="shares_all", measure="rsa") < 0.01
    assert scores.score_pvalue.sel(source="shares_none", measure="rsa") > 0.05
    assert len(report.lines) == 4
    assert "'shares_all'" in report.lines[0]
    assert (tmp_path / "out" / "scores.png").read_bytes().startswith(b"\x89PNG")


# Values measured independently for the page of the worm source (two decimals, tolerance .02): steps 1 to 4.
RHO_A = {"connectome": [0.12, 0.15, 0.16, 0.16], "gap": [0.09, 0.14, 0.15, 0.16], "genes": [0.14], "position": [0.25]}
PEARSON = {"connectome": [0.15, 0.19, 0.19, 0.18], "gap": [0.14, 0.18, 0.19, 0.20], "genes": [0.20], "position": [0.24]}


@pytest.mark.parametrize(("method", "expected"), [("rho_a", RHO_A), ("pearson", PEARSON)])
def test_worm_rsa_equals_the_published_table(worm, method, expected):
    from repcompare.measures.rsa import rsa

    scores = rc.compare(worm.sources, worm.target, measures=rsa(method=method), nan="pairwise", progress=False)
    for kind, values in expected.items():
        found = [
            float(v) for v, s in zip(scores.score.values.ravel(), scores.source.values, strict=True) if kind in str(s)
        ]
        assert found == pytest.approx(values, abs=0.02)
    assert "pairs_missing=283" in str(
        scores.notes.sel(source="connectome, 2 synapses").item()
    )  # 9870 of 10 153 defined


def test_worm_reliability_and_ceiling(worm):
    """The reliability of the RDM by Spearman-Brown (halves of the trials) bounds any model by .60.

    The ceiling itself is not that bound: it takes the noise out of the halves before it compares them, since the noise of
    an RDM is a product of noises, and lies below.
    """
    halves = []
    for seed in range(10):
        first, second = rc.split_halves(worm.target, seed=seed)
        halves.append(rc.rsa(first, second, nan="pairwise"))
    half = float(np.mean(halves))
    bound = np.sqrt(2 * half / (1 + half))
    assert bound == pytest.approx(0.60, abs=0.03)
    source = {"position": worm.sources["position"]}
    scores = rc.compare(source, worm.target, measures="rsa", nan="pairwise", ceiling="split_half", progress=False)
    assert bound - 0.06 < scores.score_ceiling.item() < bound


def test_worm_ridge_of_one_source(worm):
    """Held-out r of gene expression, folds by neuron class: .16."""
    features = {"genes": worm.features["genes"]}
    scores = rc.compare(
        features, worm.target, measures="ridge", nan="pairwise", groups="stimulus_class", progress=False
    )
    assert scores.score.item() == pytest.approx(0.16, abs=0.02)


def test_worm_block_for_cka_is_complete_and_not_driven(worm):
    block = _block(worm.target)
    assert not block.response.isnull().any()
    assert not set(block.unit_id.values) & set(block.stimulus.values)
    assert block.sizes["stimulus"] == 58
    source = _match(worm.sources["connectome, 2 synapses"], block)
    assert source.unit_id.values.tolist() == block.unit_id.values.tolist()
    assert 0.1 < rc.cka(source, block) < 0.25


def test_demo_without_the_recordings_names_the_extra(tmp_path, monkeypatch):
    from data_adapters.demo import _atlas

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_atlas, "distribution", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "repcompare\[demo\]"'):
        run_demo(tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
