"""The worm's atlas: data files found without importing their package, and what follows from them alone."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from data_adapters import _hdf5
from repcompare.errors import FormatError, MissingExtraError

PACKAGE, VERSION = "wormneuroatlas", "0.0.7.3"
STEPS = (1, 2, 3, 4)
SPELT = {
    "AWCOF": "AWC_OFF",
    "AWCON": "AWC_ON",
    "DB1": "DB01",
    "VB1": "VB01",
    "VB2": "VB02",
    "VC4": "VC_4_5",
    "VC5": "VC_4_5",
}

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Flow:
    """Responses of one strain: row = responding neuron, column = stimulated neuron.

    Attributes
    ----------
    names : ndarray of str, shape (300,)
        Neurons.
    classes : ndarray of str, shape (300,)
        Their classes.
    mean : ndarray of shape (300, 300)
        Mean response; NaN where not measured.
    trials : ndarray of object, shape (300, 300)
        Trials of each cell; read only when asked for.
    """

    names: npt.NDArray[Any]
    classes: npt.NDArray[Any]
    mean: Array
    trials: npt.NDArray[Any] | None = None


def data_folder() -> str:
    """Return the folder of the package's data files, without importing the package.

    Raises
    ------
    MissingExtraError
        When it is not installed, or another version is.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise MissingExtraError(
            f"demo:worm: the package {PACKAGE} {VERSION}, which holds the recordings, is not installed; "
            'install the extra: pip install "repcompare[demo]"'
        ) from None
    if package.version != VERSION:
        raise MissingExtraError(
            f"demo:worm: found {PACKAGE} {package.version}; expected {VERSION}; "
            'install it: pip install "repcompare[demo]"'
        )
    return os.fspath(package.locate_file(f"{PACKAGE}/data"))  # type: ignore[call-overload,no-any-return]


def read_flow(folder: str, strain: str, classes: Container[str], with_trials: bool = False) -> Flow:
    """Read the responses of one strain and assert which axis is the stimulated neuron.

    Raises
    ------
    FormatError
        When the count of stimulations of a neuron with itself in view is not the largest of its column.
    """
    path = os.path.join(folder, "funatlas.h5")
    with _hdf5.opened(path) as file:
        names = field(file, "neuron_ids").astype(np.str_)
        mean = field(file, f"{strain}/dFF").astype(np.float64)
        seen = field(file, f"{strain}/occ1").astype(np.float64)
        trials = field(file, f"{strain}/dFF_all", raw=True) if with_trials else None
    if mean.shape != (len(names), len(names)) or seen.shape != mean.shape:
        raise FormatError(f"{path}: {strain}/dFF has shape {mean.shape}; expected {len(names)} neurons on both axes")
    check_direction(seen, np.flatnonzero(np.isfinite(mean).any(0)), f"{path}: {strain}/occ1")
    return Flow(names, np.array([class_of(n, classes) for n in names.tolist()]), mean, trials)


def check_direction(seen: Array, stimulated: Index, where: str) -> None:
    """Assert that columns are stimulated neurons: a neuron is always in view when it is stimulated itself.

    Parameters
    ----------
    seen : ndarray of shape (n, n)
        How often the column was stimulated with the row in view.
    stimulated : ndarray of int
        Neurons that were stimulated.
    where : str
        File and field.

    Raises
    ------
    FormatError
        When a diagonal entry is not the largest of its column.
    """
    diagonal, largest = np.diag(seen)[stimulated], seen[:, stimulated].max(0)
    wrong = int((diagonal < largest).sum())
    if wrong:
        raise FormatError(
            f"{where}: for {wrong} of {len(stimulated)} stimulated neurons the own cell is not the largest "
            f"of its column; "
            f"expected row = responding, column = stimulated; the axes are swapped, or this is not {PACKAGE} "
            f"{VERSION}"
        )


def field(file: h5py.File, name: str, raw: bool = False) -> npt.NDArray[Any]:
    """Return a dataset of the atlas; ``raw`` for arrays of arrays.

    Raises
    ------
    FormatError
        When there is none.
    """
    dataset = _hdf5.get(file, name)
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{file.filename}: no {name}; expected the data files of {PACKAGE} {VERSION}")
    return np.asarray(dataset[()]) if raw else _hdf5.values(dataset)


def block(mean: Array, coverage: float = 0.90) -> Index:
    """Return the neurons of a block whose off-diagonal cells are nearly all measured.

    Starts from neurons with at least one measured row and column cell and drops the one with the fewest
    measured cells (row and column; the first on ties) until the coverage is reached.

    Parameters
    ----------
    mean : ndarray of shape (n, n)
        NaN where not measured.
    coverage : float
        Wanted share of measured off-diagonal cells.

    Returns
    -------
    ndarray of int
    """
    measured = np.isfinite(mean)
    keep = np.flatnonzero(measured.any(0) & measured.any(1))
    measured = measured & ~np.eye(len(measured), dtype=bool)
    while len(keep) > 1:
        inner = measured[np.ix_(keep, keep)]
        if inner.sum() >= coverage * len(keep) * (len(keep) - 1):
            return keep
        keep = np.delete(keep, int(np.argmin(inner.sum(0) + inner.sum(1))))
    raise FormatError(
        f"demo:worm: no two neurons reach a coverage of {coverage}; expected at most 1.0; lower coverage="
    )


def steps(synapses: Array) -> list[Array]:
    """Return the first powers of the synapse counts, each row (receiving neuron) divided by its sum.

    Parameters
    ----------
    synapses : ndarray of shape (n, n)
        Counts; row = post, column = pre.

    Returns
    -------
    list of ndarray of shape (n, n)
        ``W``, ``W W`` ...: what reaches the row from the column over one, two ... synapses.
    """
    total = synapses.sum(1, keepdims=True)
    weights = np.divide(synapses, total, out=np.zeros_like(synapses, dtype=np.float64), where=total > 0)
    powers = [weights]
    for _ in STEPS[1:]:
        powers.append(powers[-1] @ weights)
    return powers


def class_of(neuron: str, classes: Container[str]) -> str:
    """Return the class of a neuron as the expression data name it.

    Parameters
    ----------
    neuron : str
        Name of the neuron.
    classes : container of str
        Names of the classes.

    Returns
    -------
    str
        The neuron itself where no class fits.

    Examples
    --------
    >>> classes = {"AVA", "VD_DD", "RMD_DV", "RMD_LR", "AWC_ON", "ASEL", "VA", "VA12", "OLQ"}
    >>> [class_of(n, classes) for n in ("AVAL", "VD3", "RMDDL", "RMDL", "AWCON", "VA12", "VA3", "OLQDR")]
    ['AVA', 'VD_DD', 'RMD_DV', 'RMD_LR', 'AWC_ON', 'VA12', 'VA', 'OLQ']
    """
    if neuron in SPELT:
        return SPELT[neuron]
    if re.fullmatch(r"(VD|DD)\d+", neuron):
        return "VD_DD"
    found = re.fullmatch(r"(IL2|RMD|RME)([DVLR])[LR]?", neuron)
    if found:
        return found[1] + ("_DV" if found[2] in "DV" else "_LR")
    for ending in ("$", r"\d+$", "[LR]$", "[DV][LR]?$"):
        shorter = re.sub(ending, "", neuron)
        if shorter in classes:
            return shorter
    return neuron
