"""All cases, by name."""

from cases import (
    adapters,
    adapters_files,
    adapters_fmri,
    agreement,
    alignment,
    decoding,
    decoding_searchlight,
    encoding,
    encoding_banded,
    encoding_pls,
    encoding_stream,
    engine,
    geometry,
    pairwise,
    rsa,
    rsa_comparators,
    rsa_distances,
    rsa_inference,
    rsa_models,
    searchlight,
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
        decoding,
        decoding_searchlight,
        encoding,
        encoding_banded,
        encoding_pls,
        encoding_stream,
        engine,
        adapters,
        adapters_files,
        adapters_fmri,
        agreement,
        searchlight,
    )
    for case in module.CASES
}
