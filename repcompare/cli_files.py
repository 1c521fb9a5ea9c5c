"""The commands of the command line that are about files: what is in one, is it valid, write it in another form."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from repcompare.errors import OptionError, RepcompareError, suggest

INVALID = 3
NATIVE = ".nc"
CONSTANTS = {"True": True, "False": False, "None": None}
HALF_NUMBER = re.compile(r"[-+]?(\d+\.|\.\d+)([eE][-+]?\d+)?")  # as Python and shells write them, which JSON does not

WRITTEN = """\b
--to         suffix        keeps
repcompare   .nc           everything (the native form)
brainscore   .nc           an assembly; several parts become a folder of files
safetensors  .safetensors  parts of the same stimuli, with their labels
npz          .npz          parts of the same stimuli, with their labels
csv          .csv, .tsv    one part: values, and labels of rows
"""

format_option = click.option(
    "--format", "format_name", metavar="NAME", help="Format of the file, where it is not found."
)
reader_options = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the file's reader."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("file")
@format_option
@reader_options
@json_option
def inspect(file: str, format_name: str | None, options: tuple[str, ...], as_json: bool) -> int:
    """Show what is in FILE: kind, sizes, labels, repeats, missing values, and which adapter reads it."""
    from repcompare.labels.formats import detect, first_file, registered
    from repcompare.views.summary import summary, summary_lines

    found = summary(read_file(file, options, format_name))
    path = first_file(file).partition("::")[0]
    known = registered()[format_name] if format_name else detect(path)
    access = "sequential" if known.sequential or path.endswith(".gz") else "lazy"
    found = {"file": file, "format": known.name, "access": access, **found}
    if as_json:
        click.echo(to_json(found))
        return 0
    said = ", sequential: read whole, convert it to .nc for parts of it" if access == "sequential" else ""
    click.echo(f"{found['file']} (format {found['format']}{said})")
    click.echo("\n".join(summary_lines(found)))
    return 0


@click.command(epilog=WRITTEN)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path())
@click.option("--to", "--format", "to", metavar="NAME", help="Format of OUT.  [default: by its suffix]")
@click.option("--from", "origin", metavar="NAME", help="Format of IN, where it is not found.")
@reader_options
@click.option("--no-overwrite", is_flag=True, help="Refuse to replace OUT.")
def convert(
    source: str, target: str, to: str | None, origin: str | None, options: tuple[str, ...], no_overwrite: bool
) -> int:
    """Read IN, whatever its format, and write it as OUT, which appears when it is complete; IN::part converts one part."""
    from repcompare.labels.store import write_together

    chosen = _output(target, to)
    if no_overwrite and os.path.exists(target):
        raise OptionError(f"{target} exists; --no-overwrite refuses to replace it")
    refuse_inputs([target], [source])
    found = read_file(source, options, origin)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        if _becomes_folder(chosen, found):
            _write_folder(found, target)
        else:
            write_together({target: _writer(chosen, target)(found)})
    for line in dict.fromkeys(str(w.message) for w in said):
        click.echo(f"warning: {line}", err=True)
    click.echo(f"wrote {target}", err=True)
    return 0


def refuse_inputs(outputs: Iterable[str], inputs: Iterable[str]) -> None:
    """Raise when an output is one of the inputs, also behind a link: it would be replaced by something else."""
    for path in inputs:
        file = path.partition("::")[0]
        for output in outputs:
            if os.path.isfile(file) and os.path.exists(output) and os.path.samefile(file, output):
                raise OptionError(f"{output} is the input {file} itself, which would be lost; name another output")


def _output(target: str, to: str | None) -> str:
    """Return the name of the format in which OUT is written."""
    from repcompare.labels.formats import registered

    suffixes = {"repcompare": (NATIVE,)} | {n: f.suffixes for n, f in registered().items() if f.write is not None}
    if to is not None and to not in suffixes:
        hint = "; --to is the format of OUT, --from that of IN" if to in registered() else ""
        raise OptionError(f"--to {to}: no format that is written{suggest(to, suffixes)}{hint}")
    suffix = Path(target).suffix.lower()
    if to is not None and (suffix in suffixes[to] or not any(suffix in known for known in suffixes.values())):
        return to
    if to is not None:
        raise OptionError(
            f"{target}: --to {to} writes {' or '.join(suffixes[to])}; the suffix would say something else"
        )
    by_suffix = {s: name for name, known in reversed(suffixes.items()) for s in known} | {NATIVE: "repcompare"}
    if suffix not in by_suffix:
        raise OptionError(
            f"{target}: the suffix says what is written; expected one of {', '.join(sorted(by_suffix))}, or name the "
            f"format with --to ({', '.join(suffixes)})"
        )
    return by_suffix[suffix]


def _writer(name: str, target: str) -> Callable[[Any], Callable[[Path], None]]:
    """Return the function that makes the writer of an object."""
    from repcompare.labels.formats import registered
    from repcompare.labels.store import writer

    if name == "repcompare":
        return writer
    if os.path.isdir(target):
        raise OptionError(f"{target} is a folder; expected the name of a file")
    write: Any = registered()[name].write
    return lambda obj: lambda path: write(obj, path)


def _becomes_folder(name: str, found: Any) -> bool:
    """Say whether the format has a file per part: assemblies of Brain-Score hold one."""
    from repcompare.labels.parts import parts_of

    return name == "brainscore" and hasattr(found, "children") and list(parts_of(found)) != ["data"]


def _write_folder(found: Any, target: str) -> None:
    """Write a file per part into a new folder, which appears when it is complete."""
    from repcompare.labels.formats import registered

    if os.path.exists(target) or Path(target).suffix == NATIVE:
        raise OptionError(
            f"{target}: several parts become a folder with a file each; name one that does not exist, without {NATIVE}, "
            "or convert one part as IN::part"
        )
    parent = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(parent):
        raise OptionError(f"{target}: folder {parent} does not exist; make it first")
    write: Any = registered()["brainscore"].write
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=parent) as folder:
        write(found, os.path.join(folder, "parts"))
        os.replace(os.path.join(folder, "parts"), target)


@click.command()
@click.argument("file")
@format_option
@reader_options
@json_option
def validate(file: str, format_name: str | None, options: tuple[str, ...], as_json: bool) -> int:
    """Check FILE against the schema, values too: exit code 0, or 3 with a list of everything that is wrong."""
    checked, problems = _check(file, options, format_name)
    if as_json:
        click.echo(to_json({"file": file, "valid": not problems, "parts": checked, "problems": problems}))
    elif problems:
        click.echo(f"{file}: not valid")
        click.echo("\n".join(f"- {line}" for line in problems))
    else:
        click.echo(f"{file}: valid ({', '.join(name or 'one representation' for name in checked) or 'no parts'})")
    return INVALID if problems else 0


def _check(file: str, options: Iterable[str], format_name: str | None) -> tuple[list[str], list[str]]:
    """Return the parts of a file, and what is wrong with it or with each of them."""
    import repcompare as rc
    from repcompare.labels.parts import parts_of

    try:
        found = read_file(file, options, format_name)
    except OptionError:
        raise
    except RepcompareError as error:
        return [], _lines(file, str(error))
    if "response" not in found.data_vars and not getattr(found, "children", None):
        return [str(next(iter(found.data_vars), ""))], []  # scores and RDMs are checked when they are opened
    problems: list[str] = []
    parts = parts_of(found)
    for name, part in parts.items():
        try:
            rc.validate(part.load())  # part by part: the values are looked at too
        except RepcompareError as error:
            problems += [f"{name}: {line}" if name else line for line in _lines(file, str(error))]
        part.close()
    return list(parts), problems


def _lines(file: str, message: str) -> list[str]:
    """Return a message as a list of what is wrong, without the name of the file."""
    head, *rest = message.removeprefix(f"{file}: ").splitlines()
    return [line.removeprefix("- ") for line in rest] if rest else [head]


def read_file(path: str, options: Iterable[str] = (), format_name: str | None = None) -> Any:
    """Read a file with options as KEY=VALUE."""
    import repcompare as rc

    return rc.read(path, format=format_name, **_key_values(options))


def _key_values(options: Iterable[str]) -> dict[str, Any]:
    """Parse KEY=VALUE: JSON where it is JSON, numbers and constants as Python writes them, a tuple of names, else text."""
    found: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise OptionError(f"{option!r}: expected KEY=VALUE")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = _text_value(value)
    return found


def _text_value(value: str) -> Any:
    """Return what is not JSON: True, False, None, .5 or 5., names between commas, or the text itself."""
    if value in CONSTANTS:
        return CONSTANTS[value]
    if HALF_NUMBER.fullmatch(value):
        return float(value)
    is_list = "," in value and not set(value) & set("[](){}'\"") and not os.path.exists(value.partition("::")[0])
    return tuple(value.split(",")) if is_list else value


def to_json(content: Any) -> str:
    """Return plain values as JSON; NaN is refused."""
    return json.dumps(content, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value.tolist()
