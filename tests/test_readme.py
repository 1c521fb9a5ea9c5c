"""What the README shows works: its example runs, its commands exist, its map is true."""

from __future__ import annotations

import re
from pathlib import Path

import click

import repcompare.cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert blocks
    code = "\n".join(blocks).replace("confidence=0.95", "confidence=0.95, progress=False")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "layer0" in capsys.readouterr().out
    cka = names["scores"].score.sel(target="V1", measure="cka")
    assert cka.sel(source="layer0") > cka.sel(source="layer1") > cka.sel(source="layer2") > 0.05
    result = names["result"]
    assert result.score.sel(model="layer0") > result.score.sel(model="layer2")


def test_the_commands_and_options_exist():
    lines = re.findall(r"^repcompare (.+)$", README, flags=re.M)
    assert lines
    for line in lines:
        name = line.split()[0]
        command = repcompare.cli.cli.commands[name]
        known = {option for p in command.params if isinstance(p, click.Option) for option in p.opts}
        for option in re.findall(r"--[a-z-]+", line):
            assert option in known, f"README: {name} has no {option}"


def test_the_map_is_true():
    for place in re.findall(r"^\| (`[^|]+`) \|", README, flags=re.M):
        for path in re.findall(r"`([^`]+)`", place):
            assert (ROOT / path).is_dir(), path


def test_there_are_exactly_two_set_up_commands():
    assert len(re.findall(r"^python3 -m venv", README, flags=re.M)) == 2
