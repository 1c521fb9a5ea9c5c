"""scikit-learn estimators: encoders that tune themselves, aligners of two systems, and RDMs as features."""

from repcompare.estimators._aligners import CCAAligner, ProcrustesAligner
from repcompare.estimators._distances import RDMTransformer
from repcompare.estimators._encoders import BandedRidgeEncoder, PLSEncoder, RidgeEncoder

__all__ = [
    "BandedRidgeEncoder",
    "CCAAligner",
    "PLSEncoder",
    "ProcrustesAligner",
    "RDMTransformer",
    "RidgeEncoder",
]
