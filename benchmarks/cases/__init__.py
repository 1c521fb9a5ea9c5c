"""All cases, by name."""

from cases import (
    adapters,
    agreement,
    alignment,
    encoding,
    engine,
    geometry,
    pairwise,
    rsa,
    rsa_comparators,
    rsa_distances,
    rsa_inference,
    rsa_models,
)
from cases._case import Case, Target

__all__ = ["CASES", "Case", "Target"]

CASES: dict[str, Case] = {
    case.name: case
    for module in (
        rsa,
        rsa_comparators,
        rsa_distances,
        rsa_inference,
        rsa_models,
        alignment,
        geometry,
        pairwise,
        encoding,
        engine,
        adapters,
        agreement,
    )
    for case in module.CASES
}
