"""Searchlights against rsatoolbox and mne-rsa: the same share of the centres of a volume, the same neighbours."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from types import SimpleNamespace as Data
from typing import Any

import numpy as np

import repcompare as rc
from cases._case import Case, Target, largest

Make = Callable[[np.random.Generator, bool], Data]
VOLUME, SMALL = (40, 48, 34), (9, 9, 9)


def _volume(k: int, radius: float, n_centres: int) -> Make:
    """A volume of ``k`` conditions; ``n_centres`` whole spheres of it, one after the other, are evaluated."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        shape = SMALL if quick else VOLUME
        n, reach = (8, 2.0) if quick else (k, radius)
        places = np.indices(shape).reshape(3, -1).T
        lists = rc.neighbourhoods(places, radius=reach)
        whole = np.flatnonzero(lists.sizes == lists.full)
        start = (len(whole) - n_centres) // 2 if len(whole) > n_centres else 0
        centres = whole[start : start + n_centres]
        chosen = [lists.of(u) if u in set(centres.tolist()) else [] for u in range(len(places))]
        return Data(
            size=f"{len(centres)} spheres of {lists.full} of {len(places)} voxels, {n} conditions",
            values=rng.normal(size=(n, len(places))).astype(np.float32),
            places=places,
            centres=centres,
            groups=[lists.of(int(u)) for u in centres],
            lists=rc.neighbourhoods(lists=chosen),
            model=rc.rdm(rng.normal(size=(n, 6))),
        )

    return make


def _ours(method: str) -> Callable[[Data], Any]:
    def ours(data: Data) -> Any:
        volume = (data.values, data.places)
        found = rc.searchlight(volume, data.model, neighbours=data.lists, method=method, progress=False)
        return found["score"].values[0, data.centres]

    return ours


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _toolbox_rdms(data: Data) -> Any:
    from rsatoolbox.util.searchlight import get_searchlight_RDMs

    with _silent():
        return get_searchlight_RDMs(data.values, data.centres, data.groups, np.arange(len(data.values)))


def _toolbox(data: Data) -> Any:
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.util.searchlight import evaluate_models_searchlight

    rdms = _toolbox_rdms(data)
    with _silent():
        found = evaluate_models_searchlight(rdms, [ModelFixed("model", data.model)], eval_fixed, method="rho-a")
    return np.array([one.evaluations.ravel()[0] for one in found])


def _mne(data: Data) -> Any:
    from mne_rsa import rsa_array

    with _silent():
        return rsa_array(
            data.values, data.model, patches=[(slice(None), v) for v in data.groups], rsa_metric="spearman"
        )


def _pearson(ours: Any, rdms: Any) -> float:
    """Hold our scores against those of the peer's RDMs with the same model."""
    return largest(ours, [np.corrcoef(rdms_model, row)[0, 1] for rdms_model, row in _rows(rdms)])


def _rows(found: Any) -> list[tuple[Any, Any]]:
    rdms, model = found
    return [(model, row) for row in rdms.dissimilarities]


def _cube(rng: np.random.Generator, quick: bool) -> Data:
    n = 8 if quick else 40
    mask = np.ones((n, n, n), dtype=int)
    return Data(size=f"{n**3} voxels, radius below 3", mask=mask, places=np.indices(mask.shape).reshape(3, -1).T)


def _toolbox_neighbours(data: Data) -> Any:
    from rsatoolbox.util.searchlight import get_volume_searchlight

    with _silent():
        return get_volume_searchlight(data.mask, radius=3, threshold=1.0)


def _same_lists(ours: Any, peer: Any) -> float:
    """Count lists that differ; theirs takes a sphere that the volume cuts off for a whole one, and lists every voxel."""
    centres, lists = peer
    if not np.array_equal(centres, np.arange(ours.n_units)):
        return float("inf")
    return float(sum(not np.array_equal(ours.of(int(u)), np.sort(v)) for u, v in zip(centres, lists, strict=True)))


SHARE = "a share of the centres of a 40 x 48 x 34 volume on both sides; ours reads float32"

CASES = (
    Case(
        name="searchlight_rho_a_rsatoolbox",
        peer_name="rsatoolbox get_searchlight_RDMs + evaluate_models_searchlight",
        library="rsatoolbox",
        make=_volume(40, 3.0, 4000),
        ours=_ours("rho_a"),
        peer=_toolbox,
        agree=largest,
        tolerance=1e-6,
        target=Target("faster", 50),
        note=SHARE,
    ),
    Case(
        name="searchlight_spearman_mne_rsa",
        peer_name="mne-rsa rsa_array, patches",
        library="mne_rsa",
        make=_volume(40, 3.0, 10000),
        ours=_ours("spearman"),
        peer=_mne,
        agree=largest,
        tolerance=1e-5,
        target=Target("faster", 8),
        note=SHARE,
        packaged=False,  # it requires a window toolkit of hundreds of MB: not for an extra
    ),
    Case(
        name="searchlight_rdms_K118_rsatoolbox",
        peer_name="rsatoolbox get_searchlight_RDMs",
        library="rsatoolbox",
        make=_volume(118, 5.0, 512),
        ours=_ours("pearson"),
        peer=lambda data: (_toolbox_rdms(data), data.model),
        agree=_pearson,
        tolerance=1e-6,
        target=Target("faster", 9),
        note=SHARE + "; ours also compares each RDM with the model, theirs does not",
    ),
    Case(
        name="searchlight_neighbours_rsatoolbox",
        peer_name="rsatoolbox get_volume_searchlight",
        library="rsatoolbox",
        make=_cube,
        ours=lambda data: rc.neighbourhoods(data.places, radius=2.9),
        peer=_toolbox_neighbours,
        agree=_same_lists,
        tolerance=0,
        target=Target("faster", 50),
        note="their radius excludes its end: below 3 is up to 2.9 on a grid",
    ),
)
