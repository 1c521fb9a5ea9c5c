from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import repcompare as rc
from repcompare.errors import SchemaError
from repcompare.labels.preprocess import average_repeats, complete_block, split_halves
from repcompare.labels.schema import history, validate


def trials(names, values, **coords) -> xr.Dataset:
    dims = ("presentation", "unit", "time")[: np.ndim(values)]
    if len(dims) == 3:
        coords.setdefault("time", np.arange(np.shape(values)[2]) / 10)
    return rc.representation(values, dims=dims, stimulus_id=names, **coords)


def naive_average(names, values):
    """Plain loops over stimuli and cells; missing values are left out."""
    order = list(dict.fromkeys(names))
    out = np.full((len(order), *values.shape[1:]), np.nan)
    for i, name in enumerate(order):
        rows = [r for r, n in enumerate(names) if n == name]
        for cell in np.ndindex(values.shape[1:]):
            found = [float(values[(r, *cell)]) for r in rows if not np.isnan(values[(r, *cell)])]
            if found:
                out[(i, *cell)] = sum(found) / len(found)
    return order, out


# ---- average_repeats


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from("dcba"), min_size=1, max_size=12),
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
)
def test_averages_agree_with_loops(names, seed, with_time, dtype):
    rng = np.random.default_rng(seed)
    shape = (len(names), 3, 2) if with_time else (len(names), 3)
    values = rng.normal(size=shape).astype(dtype)
    values[rng.random(shape) < 0.3] = np.nan
    found = average_repeats(trials(names, values))
    order, expected = naive_average(names, values)
    assert found["stimulus"].values.tolist() == order
    assert found["response"].dtype == dtype
    assert found["stimulus_n_repeats"].values.tolist() == [names.count(n) for n in order]
    np.testing.assert_allclose(found["response"].values, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)
    validate(found)


def test_float32_is_summed_in_float64():
    values = np.full((1000, 1), 16777217.0)[:, :] + np.arange(1000)[:, None] % 2
    found = average_repeats(trials(["a"] * 1000, values.astype(np.float32)))
    assert found["response"].item() == np.float32(values.astype(np.float32).astype(float).mean())


def test_labels_stay_where_all_presentations_agree():
    ds = trials(
        ["b", "a", "b"],
        np.arange(6.0).reshape(3, 2),
        repeat=[0, 0, 1],
        run=[1, 1, 2],
        stimulus_category=["bird", "fish", "bird"],
        stimulus_size=[np.nan, 2.0, np.nan],
        unit_region=["V1", "V4"],
        attrs={"modality": "spikes", "history": ["read"]},
    )
    ds["stimulus_size"].attrs["units"] = "deg"
    found = average_repeats(ds)
    assert found["stimulus"].values.tolist() == ["b", "a"]
    assert found["stimulus_category"].values.tolist() == ["bird", "fish"]
    np.testing.assert_array_equal(found["stimulus_size"].values, [np.nan, 2.0])
    assert found["stimulus_size"].attrs == {"units": "deg"}
    assert found["unit_region"].values.tolist() == ["V1", "V4"]
    assert set(found.coords) == {
        "stimulus", "stimulus_category", "stimulus_size", "stimulus_n_repeats", "unit_id", "unit_region"
    }  # fmt: skip
    assert history(found) == ["read", "repeats averaged: 3 presentations of 2 stimuli; labels dropped: run"]
    assert found.attrs["modality"] == "spikes"
    assert history(ds) == ["read"]


def test_time_keeps_its_axis_and_the_order_of_stored_axes_does_not_matter():
    values = np.random.default_rng(0).normal(size=(4, 2, 3))
    ds = trials(list("abab"), values)
    found = average_repeats(ds)
    assert found["response"].dims == ("stimulus", "unit", "time")
    np.testing.assert_array_equal(found["time"].values, ds["time"].values)
    for axes in (("time", "unit", "presentation"), ("presentation", "time", "unit")):
        xr.testing.assert_equal(average_repeats(ds.transpose(*axes)), found)
        for one, other in zip(split_halves(ds.transpose(*axes)), split_halves(ds), strict=True):
            xr.testing.assert_equal(one, other)


def test_other_forms_are_returned_as_they_are():
    ds = rc.representation(np.eye(2), stimulus=["a", "b"])
    assert average_repeats(ds) is ds


def test_infinite_values_are_refused_and_not_left_out():
    ds = trials(["a", "a"], np.array([[1.0], [2.0]]))
    ds["response"].values[1, 0] = np.inf
    for act in (average_repeats, split_halves):
        with pytest.raises(SchemaError, match=r"first \(inf\) at presentation 1, unit 0; expected finite"):
            act(ds)


# ---- split_halves


def numbered(names, seed=0) -> tuple[xr.Dataset, dict[float, int]]:
    """Trials whose sums of any subset of one stimulus are distinct: powers of two."""
    values = np.zeros(len(names))
    for name in set(names):
        rows = [i for i, n in enumerate(names) if n == name]
        values[rows] = 2.0 ** np.arange(len(rows))
    return trials(names, values[:, None]), {}


def members(mean: float, size: int) -> set[int]:
    total = round(mean * size)
    return {i for i in range(12) if total >> i & 1}


@pytest.mark.parametrize("seed", range(5))
def test_halves_are_disjoint_and_of_the_same_size(seed):
    names = ["a"] * 6 + ["b"] * 5 + ["c"] * 2 + ["alone"]
    names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    ds, _ = numbered(names)
    first, second = split_halves(ds, seed=seed)
    kept = [n for n in dict.fromkeys(names) if n != "alone"]
    assert first["stimulus"].values.tolist() == second["stimulus"].values.tolist() == kept
    for name in kept:
        size = names.count(name) // 2
        left, right = (members(h.sel(stimulus=name)["response"].item(), size) for h in (first, second))
        assert len(left) == len(right) == size
        assert not left & right
        assert left | right <= set(range(names.count(name)))
    assert history(first)[-1] == f"half of the repeats, seed {seed}; 1 stimuli without repeats left out"
    validate(first)


def test_the_seed_decides():
    ds, _ = numbered(["a"] * 10 + ["b"] * 9)
    same = [split_halves(ds, seed=3)[0]["response"].values for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert any(not np.array_equal(split_halves(ds, seed=s)[0]["response"].values, same[0]) for s in range(4))


def test_all_halvings_are_equally_likely():
    ds, _ = numbered(["a"] * 4)
    seen = {frozenset(members(split_halves(ds, seed=s)[0]["response"].item(), 2)) for s in range(100)}
    assert len(seen) == 6


def test_whole_presentations_are_split():
    values = np.repeat(2.0 ** np.arange(6)[:, None], 4, axis=1)
    first, _ = split_halves(trials(["a"] * 6, values))
    assert len(set(first["response"].values.ravel().tolist())) == 1


def test_missing_values_are_left_out_of_a_half():
    values = np.array([[1.0, np.nan], [2.0, 5.0]])
    first, second = split_halves(trials(["a", "a"], values))
    both = np.stack([first["response"].values[0], second["response"].values[0]])
    assert sorted(both[:, 0].tolist()) == [1.0, 2.0]
    assert np.isnan(both[:, 1]).sum() == 1 and np.nansum(both[:, 1]) == 5.0


@pytest.mark.parametrize("seed", range(5))
def test_a_pseudo_population_is_split_cell_by_cell(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, size=3)
    values = np.full((8, 3), np.nan)
    for unit, count in enumerate(counts):
        rows = rng.choice(8, size=count, replace=False)
        values[rows, unit] = 2.0 ** np.arange(count)
    ds = trials(["a"] * 8, values, attrs={"pseudo_population": 1})
    first, second = split_halves(ds, seed=seed)
    for unit, count in enumerate(counts):
        half = [h["response"].values[0, unit] for h in (first, second)]
        if count < 2:
            assert np.isnan(half).all()
            continue
        left, right = (members(h, count // 2) for h in half)
        assert len(left) == len(right) == count // 2
        assert not left & right and left | right <= set(range(count))


def test_cells_of_a_pseudo_population_are_split_independently():
    values = np.repeat(2.0 ** np.arange(8)[:, None], 20, axis=1)
    first, _ = split_halves(trials(["a"] * 8, values, attrs={"pseudo_population": 1}))
    assert len(set(first["response"].values.ravel().tolist())) > 1


def test_time_bins_of_a_cell_stay_together():
    values = np.repeat(2.0 ** np.arange(6)[:, None, None], 4, axis=2)
    first, second = split_halves(trials(["a"] * 6, values, attrs={"pseudo_population": 1}))
    assert len(set(first["response"].values.ravel().tolist())) == 1
    assert first["response"].dims == second["response"].dims == ("stimulus", "unit", "time")


def test_repeats_are_needed():
    with pytest.raises(SchemaError, match="one row per stimulus; expected presentation form; give single trials"):
        split_halves(rc.representation(np.eye(2), stimulus=["a", "b"]))
    with pytest.raises(SchemaError, match="every stimulus was presented once; expected 2 or more; check stimulus_id"):
        split_halves(trials(["a", "b"], np.eye(2)))


# ---- complete_block


def naive_block(missing):
    """Drop the fullest line until nothing is missing; every count made anew."""
    rows, columns = list(range(missing.shape[0])), list(range(missing.shape[1]))
    while True:
        by_row = [sum(missing[r, c] for c in columns) for r in rows]
        by_column = [sum(missing[r, c] for r in rows) for c in columns]
        if not rows or not columns or max(by_row) == 0:
            return rows, columns
        if max(by_column) > max(by_row):
            columns.pop(by_column.index(max(by_column)))
        else:
            rows.pop(by_row.index(max(by_row)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31), st.floats(0, 0.9))
def test_blocks_agree_with_loops(n, p, seed, share):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, p))
    values[rng.random((n, p)) < share] = np.nan
    ds = rc.representation(values, stimulus=[f"s{i}" for i in range(n)])
    rows, columns = naive_block(np.isnan(values))
    if not rows or not columns:
        with pytest.raises(SchemaError, match="no complete block.*expected a complete part; use nan='pairwise'"):
            complete_block(ds)
        return
    found = complete_block(ds)
    np.testing.assert_array_equal(found["response"].values, values[np.ix_(rows, columns)])
    assert found["stimulus"].values.tolist() == [f"s{i}" for i in rows]
    left = f"{n - len(rows)} stimuli and {p - len(columns)} units with missing values dropped"
    assert history(found) == [f"complete block: {left}"]


def test_a_block_has_no_time():
    ds = rc.representation(np.zeros((1, 1, 2)), dims=("stimulus", "unit", "time"), stimulus=["a"], time=[0.0, 1.0])
    with pytest.raises(SchemaError, match="expected one response per stimulus and unit; average over time"):
        complete_block(ds)


def test_halves_and_means_do_not_depend_on_the_order_of_the_file():
    rng = np.random.default_rng(0)
    ds = rc.representation(
        rng.normal(size=(60, 3)),
        dims=("presentation", "unit"),
        stimulus_id=np.repeat([f"s{i}" for i in range(12)], 5),
        repeat=np.tile(np.arange(5), 12),
    )
    shuffled = ds.isel(presentation=rng.permutation(60))
    for seed in range(3):
        for a, b in zip(rc.split_halves(ds, seed=seed), rc.split_halves(shuffled, seed=seed), strict=True):
            np.testing.assert_array_equal(b.sel(stimulus=a.stimulus).response, a.response)
    a, b = rc.average_repeats(ds), rc.average_repeats(shuffled)
    np.testing.assert_array_equal(b.sel(stimulus=a.stimulus).response, a.response)
