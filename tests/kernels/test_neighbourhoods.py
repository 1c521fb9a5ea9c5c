"""Lists of neighbours against loops over all units."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.engine.neighbourhoods import from_lists, grid_axes, in_volume, on_surface
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.kernels import neighbourhoods as kernels
from tests import naive_searchlight as naive


@pytest.mark.parametrize("radius", [1, 1.5, 2, 3])
def test_spheres_in_a_mask(radius):
    rng = np.random.default_rng(0)
    places = np.indices((6, 5, 4)).reshape(3, -1).T[rng.random(120) < 0.7] + [3, 0, 11]
    found = in_volume(places, radius)
    assert [found.of(u).tolist() for u in range(found.n_units)] == naive.spheres(places, radius)
    assert found.members.dtype == np.int32
    cube = np.indices((7, 7, 7)).reshape(3, -1).T
    assert found.full == len(naive.spheres(cube, radius)[171])


def test_units_in_any_order_and_a_single_slice():
    places = np.random.default_rng(1).permutation(np.indices((5, 4, 1)).reshape(3, -1).T)
    found = in_volume(places, 2)
    assert [sorted(found.of(u).tolist()) for u in range(20)] == naive.spheres(places, 2)
    assert found.full == 13  # a disc
    with pytest.raises(SchemaError, match="two units are the voxel"):
        in_volume([[0, 0, 0], [0, 0, 0]], 1)


def sheet(n=7, seed=0):
    """A bumpy triangulated sheet."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), rng.normal(size=n * n) * 0.4], axis=1)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + n], 1), np.stack([corner + 1, corner + n, corner + n + 1], 1)]
    )
    return vertices, faces


@pytest.mark.parametrize("radius", [0.5, 1.7, 3.0])
def test_discs_on_a_mesh(radius):
    vertices, faces = sheet()
    found = on_surface(vertices, faces, radius)
    assert [found.of(u).tolist() for u in range(found.n_units)] == naive.discs(vertices, faces.tolist(), radius)
    assert found.full is None


def test_units_on_some_vertices_only_keep_paths_over_the_others():
    vertices, faces = sheet()
    nodes = np.random.default_rng(2).permutation(49)[:30]
    found = on_surface(vertices, faces, 2.0, nodes)
    whole = naive.discs(vertices, faces.tolist(), 2.0)
    place = {int(v): u for u, v in enumerate(nodes)}
    for u, vertex in enumerate(nodes.tolist()):
        assert found.of(u).tolist() == sorted(place[v] for v in whole[vertex] if v in place)


def test_surfaces_equal_scipy():
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    vertices, faces = sheet(9, 3)
    found = on_surface(vertices, faces, 2.5)
    pairs = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]]), axis=1), axis=0)
    lengths = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
    distance = dijkstra(csr_array((lengths, pairs.T), shape=(81, 81)), directed=False, limit=2.5)
    assert [found.of(u).tolist() for u in range(81)] == [np.flatnonzero(np.isfinite(row)).tolist() for row in distance]


def test_a_surface_searchlight():
    vertices, faces = sheet()
    rng = np.random.default_rng(0)
    names = [f"s{i}" for i in range(6)]
    ds = rc.representation(rng.normal(size=(6, 49)), stimulus=names, attrs={"k": 6})
    model = rc.rdm_models.from_features(rng.normal(size=(6, 3)), stimulus=names, name="m")
    near = rc.neighbourhoods(mesh=(vertices, faces), radius=2.0)
    found = rc.searchlight(ds, model, neighbours=near, progress=False)
    expected = naive.scores(
        ds, naive.discs(vertices, faces.tolist(), 2.0), [model], distance="correlation", method="rho_a"
    )
    np.testing.assert_allclose(found.score, expected, atol=1e-10)
    assert found.attrs["neighbours"] == "geodesic disc of 2 mm"


def test_the_grid_behind_positions():
    grid = np.indices((3, 4, 2)).reshape(3, -1).T + 5
    affine = np.array([[2.0, 0.3, 0.0, 7], [0.0, 2.5, 0.1, -3], [0.2, 0.0, 4.0, 1]])
    np.testing.assert_allclose(grid_axes(grid, grid @ affine[:, :3].T + affine[:, 3]), affine, atol=1e-9)
    with pytest.raises(SchemaError, match="regular grid"):
        grid_axes(grid, np.random.default_rng(0).normal(size=grid.shape))


def test_lists_and_files_that_do_not_hold_together(tmp_path):
    with pytest.raises(OptionError, match="neighbours of unit 1"):
        from_lists([[0], [1, 1]])
    with pytest.raises(OptionError, match="neighbours of unit 0"):
        from_lists([[0.5], [1]])
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(FormatError, match="no neighbourhoods"):
        rc.neighbourhoods(tmp_path / "text.npz")
    good = from_lists([[0], [1, 0]])
    object.__setattr__(good, "members", np.array([0, 1, 9], np.int32))
    good.save(tmp_path / "bad.npz")
    with pytest.raises(FormatError, match="hold together"):
        rc.neighbourhoods(tmp_path / "bad.npz")
    with pytest.raises(OptionError, match="no units"):
        rc.neighbourhoods()


def test_kernels_as_python():
    lookup = np.full(7, -1, np.int32)
    lookup[[2, 3, 4]] = 0, 1, 2
    place, jumps, counts = np.array([2, 3, 4]), np.array([-1, 0, 1]), np.empty(3, np.int64)
    kernels.count_shifted.py_func(place, lookup, jumps, counts)
    assert counts.tolist() == [2, 3, 2]
    members = np.empty(7, np.int32)
    kernels.fill_shifted.py_func(place, lookup, jumps, np.array([0, 2, 5, 7]), members)
    assert members.tolist() == [0, 1, 0, 1, 2, 1, 2]
    starts, ends, lengths = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1]), np.array([1.0, 1.0, 5.0, 5.0])
    distance, touched = np.full(3, np.inf), np.empty(3, np.int64)
    assert kernels.reach.py_func(0, 2.0, (starts, ends, lengths), distance, touched) == (2, 2)
    assert distance.tolist() == [0.0, 1.0, np.inf]
