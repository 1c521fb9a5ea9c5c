from __future__ import annotations

import sys

import numpy as np
import pytest

import data_adapters
import repcompare as rc
from data_adapters.demo import _atlas as worm
from repcompare.errors import FormatError, OptionError


@pytest.fixture(scope="module")
def tree():
    return data_adapters.read("demo:worm")


def installed() -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("wormneuroatlas") == worm.VERSION
    except PackageNotFoundError:
        return False


needs_data = pytest.mark.skipif(not installed(), reason="the extra demo (wormneuroatlas 0.0.7.3) is not installed")


@needs_data
def test_the_tree(tree):
    names = [n.path.strip("/") for n in tree.subtree if "response" in n.data_vars]
    kinds = [f"source/{k}/step{s}" for k in ("connectome", "gap", "chemical") for s in (1, 2, 3, 4)]
    assert set(names) == {"target/wt", "target/unc31", *kinds, "source/genes", "source/position"}
    assert "wormneuroatlas" not in sys.modules
    target = tree["target/wt"].to_dataset()
    for name in names:
        rc.validate(tree[name].to_dataset())
        if name.startswith("source/"):
            assert tree[name]["stimulus"].values.tolist() == target["stimulus"].values.tolist()
    assert target["unit_id"].values.tolist() == target["stimulus"].values.tolist()


@needs_data
def test_blocks_have_the_published_sizes(tree):
    assert dict(tree["target/wt"].sizes) == {"stimulus": 143, "unit": 143}
    assert dict(tree["target/unc31"].sizes) == {"stimulus": 53, "unit": 53}
    assert len(set(tree["target/wt"]["stimulus_class"].values.tolist())) == 78
    flow = worm.read_flow(worm.data_folder(), "wt", set())
    measured = np.isfinite(flow.mean)
    assert (measured.any(1).sum(), measured.any(0).sum()) == (207, 173)
    assert [len(worm.block(flow.mean, c)) for c in (0.88, 0.90, 0.93)] == [149, 143, 133]
    own = np.diag(flow.mean)
    off = flow.mean[~np.eye(300, dtype=bool)]
    assert np.nanmean(own) == pytest.approx(0.43, abs=0.01) and np.nanmean(off) == pytest.approx(0.04, abs=0.01)


@needs_data
def test_direction(tree):
    flow = worm.read_flow(worm.data_folder(), "wt", set())
    ds = tree["target/wt"].to_dataset()
    i, j = (flow.names.tolist().index(n) for n in ("AVDR", "AVAL"))
    if {"AVDR", "AVAL"} <= set(ds["stimulus"].values.tolist()):
        assert float(ds["response"].sel(stimulus="AVAL").values[ds["unit_id"].values == "AVDR"][0]) == flow.mean[i, j]
    assert np.isnan(np.diag(ds["response"].values)).all()
    assert np.isnan(np.diag(tree["source/connectome/step2"]["response"].values)).all()


def test_swapped_axes_are_noticed():
    seen = np.array([[5.0, 1, 2], [4, 6, 3], [1, 2, 3]])
    worm.check_direction(seen, np.arange(3), "x")
    with pytest.raises(FormatError, match=r"1 of 3 stimulated .* axes are swapped"):
        worm.check_direction(np.array([[5.0, 1, 2], [9, 6, 3], [1, 2, 3]]), np.arange(3), "x")


@needs_data
def test_trials(tree):
    ds = data_adapters.read("demo:worm", repeats=True)["target/wt"].to_dataset()
    assert ds.attrs["pseudo_population"] == 1
    assert ds["response"].dims == ("presentation", "unit")
    mean = rc.average_repeats(ds).sel(stimulus=tree["target/wt"]["stimulus"].values)
    np.testing.assert_allclose(mean["response"].values, tree["target/wt"]["response"].values, rtol=1e-6)
    shape = (143, 143)
    trials = np.zeros(shape)
    order = {s: i for i, s in enumerate(tree["target/wt"]["stimulus"].values.tolist())}
    np.add.at(trials, [order[s] for s in ds["stimulus_id"].values.tolist()], np.isfinite(ds["response"].values))
    assert np.median(trials[trials > 0]) == 4
    assert (trials[~np.eye(143, dtype=bool)] >= 2).mean() == pytest.approx(0.75, abs=0.005)


def correlation_distances(x):
    known = np.isfinite(x).astype(float)
    z = np.where(known > 0, x, 0)
    n, s, q = known @ known.T, z @ known.T, (z * z) @ known.T
    with np.errstate(invalid="ignore", divide="ignore"):
        cov = z @ z.T - s * s.T / n
        power = (q - s**2 / n) * (q.T - s.T**2 / n)
        d = np.where((n >= 10) & (power > 1e-24), 1 - cov / np.sqrt(power), np.nan)
    return d[np.triu_indices(len(x), 1)]


@needs_data
def test_counts_and_scores_of_the_page(tree):
    target = correlation_distances(tree["target/wt"]["response"].values)
    assert len(target) == 10153 and np.isfinite(target).all()
    block = data_adapters.read("demo:worm", neurons="wt")
    cases = {
        "source/connectome/step2": (9870, 0.19),
        "source/gap/step3": (8911, 0.19),
        "source/chemical/step1": (None, 0.08),
        "source/genes": (10153, 0.20),
        "source/position": (10153, 0.24),
        "target/unc31": (4950, 0.15),
    }
    for name, (pairs, score) in cases.items():
        source = correlation_distances(block[name]["response"].values)
        both = np.isfinite(source) & np.isfinite(target)
        if pairs is not None:
            assert abs(both.sum() - pairs) <= 2, name
        assert np.corrcoef(source[both], target[both])[0, 1] == pytest.approx(score, abs=0.02), name


@needs_data
def test_features_for_ridge_have_no_gaps():
    tree = data_adapters.read("demo:worm", units="all")
    sizes = {"source/connectome/step1": 300, "source/genes": 500, "source/position": 302}
    for name, units in sizes.items():
        assert tree[name].sizes == {"stimulus": 143, "unit": units}
        assert np.isfinite(tree[name]["response"].values).all()


@needs_data
def test_options():
    small = data_adapters.read("demo:worm", coverage=0.93, neurons="unc31")
    assert small["target/wt"]["stimulus"].values.tolist() == small["source/genes"]["stimulus"].values.tolist()
    assert small["target/wt"].sizes["unit"] == small["target/unc31"].sizes["stimulus"] < 53
    picked = data_adapters.read("demo:worm", neurons=["AVAL", "AVAR", "AVBL"])
    assert picked["target/wt"]["stimulus"].values.tolist() == ["AVAL", "AVAR", "AVBL"]
    for options, message in (
        ({"covrage": 0.9}, "did you mean 'coverage'"),
        ({"coverage": 2}, "share above 0"),
        ({"units": "al"}, "did you mean 'all'"),
        ({"neurons": ["AVAX", "AVAL"]}, "did you mean 'AVA"),
    ):
        with pytest.raises(OptionError, match=message):
            data_adapters.read("demo:worm", **options)


def test_missing_or_other_package_names_the_extra(monkeypatch):
    def missing(name):
        raise worm.PackageNotFoundError(name)

    monkeypatch.setattr(worm, "distribution", missing)
    with pytest.raises(FormatError, match=r'pip install "repcompare\[demo\]"'):
        data_adapters.read("demo:worm")

    class Other:
        version = "9.9"

    monkeypatch.setattr(worm, "distribution", lambda name: Other())
    with pytest.raises(FormatError, match=r"found wormneuroatlas 9.9; expected 0.0.7.3"):
        data_adapters.read("demo:worm")


def test_steps_follow_synapses():
    chain = np.array([[0.0, 0, 0], [3, 0, 0], [1, 1, 0]])  # 0 -> 1, 0 and 1 -> 2
    one, two, three, _ = worm.steps(chain)
    assert one.tolist() == [[0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]
    assert two.tolist() == [[0, 0, 0], [0, 0, 0], [0.5, 0, 0]]
    assert not three.any()
