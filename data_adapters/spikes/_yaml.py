"""The part of YAML in which recordings describe themselves: scalars, lists and mappings; no tags, no references."""

from __future__ import annotations

import re
from typing import Any

from repcompare.errors import FormatError

LARGEST = 16 * 2**20  # characters
DEEPEST = 16
NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
KEY = re.compile(r"([^\s#&*!|>%@`'\"\[\]{},:][^:#]*?|'[^']*'|\"[^\"]*\")\s*:(?:\s+(.*))?$")
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def parse_yaml(text: str, where: str) -> Any:
    r"""Return the content of a YAML file of scalars, lists and mappings.

    Parameters
    ----------
    text : str
        The content.
    where : str
        The file, for messages.

    Raises
    ------
    FormatError
        For anything else: anchors, tags, block text, tabs, deep nesting.

    Examples
    --------
    >>> parse_yaml("rate: 30\nshape: [2, 3]\nneurons:\n  - a\n  - b\n", "meta.yml")
    {'rate': 30, 'shape': [2, 3], 'neurons': ['a', 'b']}
    """
    if len(text) > LARGEST:
        raise FormatError(f"{where}: {len(text)} characters; expected a description of at most {LARGEST}")
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split(" #")[0].rstrip()
        if line.strip() and not line.lstrip().startswith(("#", "---")):
            if "\t" in line[: len(line) - len(line.lstrip())]:
                raise FormatError(f"{where}: line {number} begins with a tab; expected spaces")
            lines.append((len(line) - len(line.lstrip()), line.strip(), number))
    if not lines:
        raise FormatError(f"{where}: nothing in it; expected 'name: value' lines")
    value, used = _block(lines, 0, where, 0)
    if used < len(lines):
        raise _odd(where, lines[used])
    return value


def _odd(where: str, line: tuple[int, str, int]) -> FormatError:
    return FormatError(f"{where}: line {line[2]} {line[1][:60]!r}: expected 'name: value' or '- value' in its column")


def _block(lines: list[tuple[int, str, int]], at: int, where: str, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise FormatError(f"{where}: more than {DEEPEST} levels in one another; expected a flat description")
    is_list = lines[at][1] == "-" or lines[at][1].startswith("- ")
    return (_items if is_list else _pairs)(lines, at, where, depth)


def _items(lines: list[tuple[int, str, int]], at: int, where: str, depth: int) -> tuple[list[Any], int]:
    column, out = lines[at][0], []
    while at < len(lines) and lines[at][0] == column and (lines[at][1] + " ").startswith("- "):
        rest = lines[at][1][1:].strip()
        if KEY.fullmatch(rest):  # a mapping that begins behind the dash
            lines[at] = (column + len(lines[at][1]) - len(rest), rest, lines[at][2])
            value, at = _block(lines, at, where, depth + 1)
        elif not rest and at + 1 < len(lines) and lines[at + 1][0] > column:
            value, at = _block(lines, at + 1, where, depth + 1)
        else:
            value, at = _scalar(rest, where, lines[at]), at + 1
        out.append(value)
    return out, at


def _pairs(lines: list[tuple[int, str, int]], at: int, where: str, depth: int) -> tuple[dict[str, Any], int]:
    column = lines[at][0]
    out: dict[str, Any] = {}
    while at < len(lines) and lines[at][0] == column:
        found = KEY.fullmatch(lines[at][1])
        if not found:
            if depth == 0 and not out and len(lines) == 1:
                raise _odd(where, lines[at])
            break
        key, rest = found[1].strip("'\""), (found[2] or "").strip()
        if key in out:
            raise FormatError(f"{where}: line {lines[at][2]}: {key!r} occurs twice; expected each name once")
        nested = at + 1 < len(lines) and (
            lines[at + 1][0] > column or (lines[at + 1][0] == column and lines[at + 1][1].startswith("- "))
        )
        if not rest and nested:
            out[key], at = _block(lines, at + 1, where, depth + 1)
        else:
            out[key], at = _scalar(rest, where, lines[at]), at + 1
    if not out:
        raise _odd(where, lines[at])
    return out, at


def _scalar(text: str, where: str, line: tuple[int, str, int]) -> Any:
    if text.startswith(("&", "*", "!", "|", ">", "%", "@", "`")):
        raise FormatError(f"{where}: line {line[2]}: {text[:40]!r} is more than data; expected numbers, text and lists")
    if text.startswith(("[", "{")):
        return _flow(text, where, line)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if NUMBER.fullmatch(text) and len(text) < 64:
        plain = text.replace("_", "")
        return float(plain) if set(plain) & set(".eE") else int(plain)
    return {".nan": float("nan"), ".inf": float("inf"), "-.inf": float("-inf")}.get(text.lower(), text)


def _flow(text: str, where: str, line: tuple[int, str, int]) -> Any:
    """A list ``[a, b]`` or mapping ``{a: b}`` of scalars in one line."""
    close = "]" if text[0] == "[" else "}"
    inner = text[1:-1]
    if text[-1] != close or set(inner) & set("[]{}"):
        raise FormatError(f"{where}: line {line[2]}: {text[:40]!r}: expected a plain list in one line")
    items = [i.strip() for i in inner.split(",")] if inner.strip() else []
    if close == "]":
        return [_scalar(i, where, line) for i in items]
    pairs = [KEY.fullmatch(i) for i in items]
    if not all(pairs):
        raise _odd(where, line)
    return {p[1].strip("'\""): _scalar((p[2] or "").strip(), where, line) for p in pairs if p}
