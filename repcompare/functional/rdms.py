"""Representational dissimilarity matrices: computed, compared, and in one step."""

from __future__ import annotations

from typing import Any

from repcompare.functional._compare_rdms import compare_labelled, is_responses, with_stimuli
from repcompare.functional._pair import Data
from repcompare.functional._score import score_pair
from repcompare.functional.distances import rdm as rdm
from repcompare.measures.registry import make


def rsa(x: Data, y: Data, *, nan: str = "raise", control: Any = None, **options: Any) -> float:
    """Representational similarity analysis: compare the dissimilarity matrices of two systems.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        ``"pairwise"``: each distance over the units that both stimuli have.
    control : representation, array-like (n_stimuli, n_units), condensed RDM (n_pairs,) or Dataset of RDMs, optional
        Whose RDM is regressed out of both sides: partial RSA.  Of responses the RDM is taken with the same distance.
        Datasets are matched by stimulus name, arrays must have the rows of x and y.
    **options
        ``distance``, ``method``, ``stimulus_covariance`` (stimuli in the order of x) ...: see
        :func:`repcompare.measures.rsa.rsa`.

    Returns
    -------
    float
        In [-1, 1] (``method="riemannian"``: (-inf, 0]); higher is more similar.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008; Schuett et al. 2023 (rho_a).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(12, 10))
    >>> round(rc.rsa(x, x[:, ::-1]), 6)
    1.0
    """
    if control is None and options.get("stimulus_covariance") is None:
        return score_pair(make("rsa", **options), x, y, nan=nan)
    if control is not None and is_responses(control, x):
        control = rdm(control, distance=options.get("distance", "correlation"), nan="pairwise")
    left, right, given = with_stimuli(x, y, nan, {"control": control} | options)
    return score_pair(make("rsa", **given), left, right, nan="pairwise" if nan == "pairwise" else "raise")


def compare_rdms(
    a: Any,
    b: Any,
    *,
    method: str = "rho_a",
    stimulus_covariance: Any = None,
    control: Any = None,
    stimuli: str = "exact",
    convention: str = "repcompare",
    details: bool = False,
    **options: Any,
) -> Any:
    """Compare dissimilarity matrices.

    Parameters
    ----------
    a, b : condensed RDM (n_pairs,), stack (n_rdms, n_pairs), or Dataset as :func:`rdm` returns it
        Upper triangles, row by row.  Datasets are matched by stimulus name, whatever their order; arrays must have the
        same stimuli in the same order.
    method : str
        ``"rho_a"``, ``"pearson"``, ``"spearman"``, ``"kendall_tau_a"``, ``"kendall_tau_b"``, ``"cosine"``,
        ``"whitened_cosine"``, ``"whitened_pearson"``, ``"bures"`` or ``"riemannian"``; pairs that are NaN on either side
        are left out, for each two RDMs on their own.
    stimulus_covariance : None, array of shape (n_stimuli,) or (n_stimuli, n_stimuli)
        Noise covariance between stimuli of the whitened methods and ``riemannian``, in the order of ``a``; None is the
        identity.
    control : RDM, stack or Dataset of RDMs, optional
        Regressed out of both sides: partial comparison.
    stimuli : {"exact", "intersection"}
        Demand the same stimuli in all Datasets, or compare on the shared ones.
    convention : {"repcompare", "rsatoolbox", "mne-rsa"}
        Whose names ``method`` is among (``"tau-a"``, ``"cosine_cov"`` ...), and whose values are returned.
    details : bool
        Return a Dataset with ``score``, ``n_pairs_used`` and, where defined, ``negative_share_a``, ``negative_share_b``
        (of eigenvalues, ``bures``).  Its attrs, and those of a DataArray, say ``method``, and ``warnings`` where
        ``"spearman"`` or ``"kendall_tau_b"`` meet an RDM with more than 10 % ties, which they favour.
    **options
        ``semipartial=True`` (regress out of ``b`` only), ``centring="whitened"`` (``whitened_pearson``), ``ridge=False``
        (``riemannian``).

    Returns
    -------
    float, ndarray of shape (n_rdms_a, n_rdms_b), or xarray object
        Similarity in [-1, 1] (``bures`` [0, 1], ``riemannian`` (-inf, 0]).  A DataArray (``rdm_a``, ``rdm_b``) with the
        names of the RDMs where both sides are Datasets with an ``rdm`` dim.

    Raises
    ------
    MeasureError, AlignmentError, SchemaError, OptionError
        For RDMs on which the method is not defined, stimuli that do not match, or an unknown method or option.

    References
    ----------
    Schuett et al. 2023 (rho_a); Diedrichsen et al. 2021 (whitened); Harvey et al. 2024 (Bures); Shahbazi et al. 2021
    (Riemannian).

    Examples
    --------
    >>> import repcompare as rc
    >>> round(rc.compare_rdms([1.0, 2.0, 3.0], [2.0, 4.0, 9.0]), 12)
    1.0
    """
    return compare_labelled(
        a,
        b,
        method=method,
        control=control,
        stimuli=stimuli,
        convention=convention,
        details=details,
        options=options | {"stimulus_covariance": stimulus_covariance},
    )
