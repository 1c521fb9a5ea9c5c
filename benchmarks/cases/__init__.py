"""All cases, by name."""

from cases import adapters, alignment, encoding, engine, rsa
from cases._case import Case, Target

__all__ = ["CASES", "Case", "Target"]

CASES: dict[str, Case] = {
    case.name: case for case in (*rsa.CASES, *alignment.CASES, *encoding.CASES, *engine.CASES, *adapters.CASES)
}
