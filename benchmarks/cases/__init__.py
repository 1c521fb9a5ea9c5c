"""All cases, by name."""

from cases import adapters, alignment, encoding, engine, geometry, rsa
from cases._case import Case, Target

__all__ = ["CASES", "Case", "Target"]

CASES: dict[str, Case] = {
    case.name: case for module in (rsa, alignment, geometry, encoding, engine, adapters) for case in module.CASES
}
