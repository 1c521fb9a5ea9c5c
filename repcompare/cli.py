"""The command line.  Results go to stdout and to files, everything else to stderr; imports wait until a command runs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from repcompare import __version__
from repcompare.cli_files import convert, inspect, read_file, refuse_inputs, to_json, validate
from repcompare.errors import OptionError, RepcompareError

PARTIAL = 5
Command = Callable[..., Any]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """How alike are two systems' responses to the same stimuli, where, and can it be believed?

    Exit codes: 0 done, 1 internal error, 2 usage, 3 unreadable or invalid input, 4 no shared stimuli, 5 done in part.
    """


def _options(*decorators: Command) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


PATH = click.Path(dir_okay=False)

study_options = _options(
    click.option("--stimuli", default="exact", show_default=True, help="exact | intersection"),
    click.option("--nan", default="raise", show_default=True, help="raise | drop_units | drop_stimuli | pairwise"),
    click.option("--folds", default="5", show_default=True, help="Folds of the fitted measures: a number, or loo."),
    click.option("--groups", metavar="LABEL", help="Label of the rows that folds keep together, such as run."),
    click.option("--ceiling", metavar="METHOD", help="Noise ceiling from repeats of the target: split_half."),
    click.option("--confidence", type=float, help="Coverage of intervals over stimuli, such as 0.95."),
    click.option("--permutations", default=0, show_default=True, help="Permutations of the stimuli for p-values."),
    click.option("--calibrated", is_flag=True, help="Also scores above their permutation floor (in --out)."),
    click.option("--best", is_flag=True, help="Also the best source of each target, chosen on other stimuli."),
    click.option("--direction", default="forward", show_default=True, help="forward | both: sources from targets too."),
    click.option("--seed", default=0, show_default=True, help="Of folds, halvings and permutations."),
    click.option("--jobs", default=-1, help="Threads.  [default: every core]"),
    click.option("--memory", metavar="SIZE", help="Work in tiles that stay below, such as 8GB."),
    click.option("--checkpoint", type=click.Path(file_okay=False), help="Folder in which finished tiles are kept."),
    click.option("--resume", is_flag=True, help="Use the tiles that are in the checkpoint."),
)

output_options = _options(
    click.option("--out", type=PATH, help="Scores as netCDF (.nc)."),
    click.option("--csv", "csv_path", type=PATH, help="Scores as a tidy table (.csv)."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of the table."),
    click.option("--no-overwrite", is_flag=True, help="Refuse to replace existing outputs."),
    click.option("--partial-ok", is_flag=True, help="Exit 0, not 5, when some cells have no score."),
)

talk_options = _options(
    click.option("--quiet", is_flag=True, help="Errors only."),
    click.option("--verbose", is_flag=True, help="Say more on stderr."),
    click.option("--no-progress", is_flag=True, help="No progress bar."),
)


@cli.command()
@click.argument("source")
@click.argument("target")
@click.option("-m", "--measure", "measures", multiple=True, required=True, help="Repeatable; see: repcompare measures.")
@click.option(
    "--by",
    nargs=2,
    metavar="SOURCE_LABEL TARGET_LABEL",
    help="Split the sides, e.g. layer region; - for none.",
)
@click.option("--source-option", multiple=True, metavar="KEY=VALUE", help="Option of the source's reader.")
@click.option("--target-option", multiple=True, metavar="KEY=VALUE", help="Option of the target's reader.")
@study_options
@output_options
@talk_options
def compare(source: str, target: str, measures: tuple[str, ...], by: tuple[str, str] | None, **flags: Any) -> int:
    """Compare every part of SOURCE with every part of TARGET.

    SOURCE and TARGET are files or directories; file::part names one part.  Stimuli are matched by name.
    """
    outputs = _outputs(flags, (source, target))
    import repcompare as rc

    labels = tuple(None if label in ("-", "none") else label for label in by or ("-", "-"))
    sides = [
        _named(source, flags["source_option"], split=labels[0] is not None),
        _named(target, flags["target_option"], split=labels[1] is not None),
    ]
    scores = rc.compare(*sides, measures=measures, by=labels, **_study_options(flags))
    return _finish(scores, outputs, flags)


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("-m", "--measure", "measures", multiple=True, default=("cka",), show_default=True, help="Repeatable.")
@click.option("--by", metavar="LABEL", help="Split each source by a label of its units, e.g. layer.")
@study_options
@output_options
@talk_options
def matrix(sources: tuple[str, ...], measures: tuple[str, ...], by: str | None, **flags: Any) -> int:
    """Compare all SOURCES, and all their parts, with each other."""
    outputs = _outputs(flags, sources)
    import repcompare as rc

    names = [_name(path) for path in sources]
    if len(set(names)) < len(names):  # files of one name in several folders
        names = list(sources)
    found = read_file(sources[0]) if len(sources) == 1 else dict(zip(names, map(read_file, sources), strict=True))
    scores = rc.similarity_matrix(found, measure=measures, by=by, **_study_options(flags))
    return _finish(scores, outputs, flags)


@cli.command("measures")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def menu(as_json: bool) -> int:
    """List the measures: kind, range, symmetry, invariances, reference."""
    import repcompare as rc

    rows = rc.measures().to_dict("records")
    if as_json:
        click.echo(to_json({"measures": rows}))
        return 0
    from rich.table import Table

    table = Table()
    shown = (
        "measure",
        "kind",
        "range",
        "unit",
        "symmetric",
        "metric",
        "held_out",
        "invariant_to",
        "reference",
    )
    for column in shown:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_yes(row[column]) for column in shown))
    _console().print(table)
    return 0


@cli.command()
@click.option("--out", type=click.Path(file_okay=False), default="repcompare-demo", show_default=True, help="Folder.")
@click.option("--simulated", is_flag=True, help="The same steps on simulated recordings; needs no data package.")
@click.option("--jobs", default=-1, help="Threads.  [default: every core]")
@click.option("--seed", default=0, show_default=True, help="Of folds and halvings.")
@talk_options
def demo(out: str, simulated: bool, jobs: int, seed: int, **flags: Any) -> int:
    """Run the main job on real recordings: what predicts signal flow through the worm's nervous system?

    Writes scores.nc, scores.csv and scores.png to the folder.
    """
    _configure_logging(flags)
    from repcompare.demo import run_demo

    report = run_demo(Path(out), simulated=simulated, n_jobs=jobs, seed=seed, progress=_progress(flags))
    console = _console()
    for table in report.tables:
        console.print(table)
    click.echo("\n".join(report.lines))
    return 0


for command in (inspect, convert, validate):
    cli.add_command(command)


def _named(path: str, options: Iterable[str], split: bool) -> Any:
    """Read a file; a single representation that is not split is named by its file."""
    found = read_file(path, options)
    single = "response" in getattr(found, "data_vars", ())
    return {_name(path): found} if single and not split else found


def _name(path: str) -> str:
    file, _, part = path.partition("::")
    return part or os.path.basename(file.rstrip("/")).partition(".")[0] or path


def _study_options(flags: dict[str, Any]) -> dict[str, Any]:
    if flags["resume"] and not flags["checkpoint"]:
        raise OptionError("--resume needs --checkpoint, the folder of the tiles of the run that stopped")
    named = "stimuli nan groups ceiling confidence permutations calibrated best direction seed checkpoint resume"
    return {
        **{name: flags[name] for name in named.split()},
        "folds": _folds(flags["folds"]),
        "n_jobs": flags["jobs"],
        "memory": _bytes(flags["memory"]),
        "progress": _progress(flags),
    }


def _progress(flags: dict[str, Any]) -> bool | None:
    return False if flags["quiet"] or flags["no_progress"] else None


def _folds(text: str) -> int | str:
    if text.isdigit():
        return int(text)
    if text != "loo":
        raise OptionError(f"--folds {text!r}: expected a number of folds, such as 5, or loo")
    return text


def _bytes(size: str | None) -> int | None:
    if size is None:
        return None
    units = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "B": 1.0}
    for unit, factor in units.items():
        number = size.upper().removesuffix(unit)
        if number != size.upper():
            try:
                return int(float(number) * factor)
            except ValueError:
                break
    raise OptionError(f"--memory {size!r}: expected a number with a unit, such as 500MB or 8GB")


def _outputs(flags: dict[str, Any], inputs: tuple[str, ...]) -> dict[str, str]:
    """Check the outputs before anything is computed; return them by kind, the netCDF first."""
    _configure_logging(flags)
    wanted = {"nc": flags["out"], "csv": flags["csv_path"]}
    outputs = {kind: path for kind, path in wanted.items() if path}
    if len({os.path.realpath(p) for p in outputs.values()}) < len(outputs):
        raise OptionError(f"two outputs have one path: {', '.join(outputs.values())}")
    refuse_inputs(outputs.values(), inputs)
    for kind, path in outputs.items():
        if Path(path).suffix != f".{kind}":
            other = {"nc": "--csv writes a table", "csv": "--out writes netCDF"}[kind]
            raise OptionError(f"{path}: the suffix says what is written; expected .{kind}; {other}")
        if flags["no_overwrite"] and os.path.exists(path):
            raise OptionError(f"{path} exists; --no-overwrite refuses to replace it")
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise OptionError(f"{path}: folder {folder} does not exist; make it first")
    return outputs


def _finish(scores: Any, outputs: dict[str, str], flags: dict[str, Any]) -> int:
    """Write the outputs, show the table, say the warnings; return the exit code."""
    from repcompare.labels.store import text_writer, write_together, writer
    from repcompare.views.table import csv_text, records, terminal_table

    writers = {
        "nc": writer(scores),
        "csv": text_writer(csv_text(scores)),
    }
    write_together({path: writers[kind] for kind, path in outputs.items()})
    warnings = scores.attrs.get("warnings", [])
    failed = int((scores["reason"] != "").sum())
    if flags["as_json"]:
        record = {k: v for k, v in scores.attrs.items() if k != "warnings"}
        chosen = {"best": _best(scores)} if flags["best"] else {}
        click.echo(to_json({"scores": records(scores), **chosen, "provenance": record, "warnings": list(warnings)}))
    else:
        _console().print(terminal_table(scores))
        for row in _best(scores) if flags["best"] else ():
            numbers = f"{row['score']:.3f} (of all: {row['max']:.3f})" if row["source"] else "no source has all scores"
            click.echo(f"best of {row['target']} by {row['measure']}: {row['source']} {row['share']} {numbers}")
    if not flags["quiet"]:
        for line in [*_caption(scores, outputs), *(f"warning: {warning}" for warning in warnings)]:
            click.echo(line, err=True)
    if failed:
        click.echo(f"error: {failed} of {scores['score'].size} cells have no score; see column 'reason'", err=True)
    return PARTIAL if failed and not flags["partial_ok"] else 0


def _best(scores: Any) -> list[dict[str, Any]]:
    """The best source of each target: the one chosen most often, and the score of the choice."""
    import repcompare as rc

    chosen, rows = rc.best(scores), []
    for j, target in enumerate(chosen["target"].values.tolist()):
        for k, measure in enumerate(chosen["measure"].values.tolist()):
            cell = chosen.isel(target=j, measure=k)
            counts = cell["n_selected"].values
            row: dict[str, Any] = {"target": target, "measure": measure, "source": "", "share": ""}
            if counts.any():
                row["source"] = str(chosen["source"].values[counts.argmax()])
                row["share"] = f"in {counts.max()} of {counts.sum()} choices"
                row |= {"score": float(cell["score_best"]), "max": float(cell["score_max"])}
            rows.append(row)
    return rows


def _caption(scores: Any, outputs: dict[str, str]) -> list[str]:
    lines = []
    if scores.attrs["ceiling"] != "none":
        lines.append("score / ceiling from halves of the repeats")
    if scores.attrs["permutations"]:
        lines.append("* p < 0.05 against the best of all cells under the same permutation")
    return [*lines, *(f"wrote {path}" for path in outputs.values())]


def _yes(value: Any) -> str:
    return {True: "yes", False: ""}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    return Console(width=width, highlight=False)


def _configure_logging(flags: dict[str, Any]) -> None:
    level = logging.ERROR if flags["quiet"] else logging.INFO if flags["verbose"] else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    if not flags["quiet"]:
        logging.getLogger("repcompare.plan").setLevel(logging.INFO)  # sizes and memory, before anything is computed
    logging.captureWarnings(True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code = cli.main(args=arguments, prog_name="repcompare", standalone_mode=False)
    except click.exceptions.Abort:
        code = 128 + signal.SIGINT
    except click.ClickException as error:
        error.show()
        code = 2
    except RepcompareError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        code = 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception:
        code = _internal_error()
    sys.exit(code if isinstance(code, int) else 0)


def _internal_error() -> int:
    with tempfile.NamedTemporaryFile("w", prefix="repcompare-", suffix=".log", delete=False) as log:
        log.write(traceback.format_exc())
    click.echo(
        f"error: internal error, {sys.exc_info()[1]!r}; please report it with the traceback in {log.name}",
        err=True,
    )
    return 1


if __name__ == "__main__":
    main()
