"""Every command and every line of Python in the docs does what it says: it runs.

A block marked ``bash no-run`` is left out: installing, starting napari, make.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_covseg.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEFT_OUT = {"pip", "python", "source", "napari", "make", "cd", "git"}


def _blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """``(mark, text)`` of each fenced block in a language."""
    for name, mark, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if name == language:
            yield mark.strip(), text


def _commands(page: Path) -> list[str]:
    return [
        line
        for mark, text in _blocks(page, "bash")
        if mark != "no-run"
        for line in text.splitlines()
        if line.strip() and not line.startswith("#")
    ]


def _with(language: str) -> list[Path]:
    return [page for page in PAGES if any(mark == "" for mark, _ in _blocks(page, language))]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _run(command: str) -> int:
    program, *arguments = shlex.split(command)
    assert program == "covseg", f"mark its block 'bash no-run': {command}"
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_the_pages_hold_commands() -> None:
    names = {_name(page) for page in _with("bash")}
    assert {"README.md", "docs/get-started.md", "docs/reference/cli.md"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("page", _with("bash"), ids=_name)
def test_commands_run(page: Path, docs_workspace: Path) -> None:
    for command in _commands(page):
        assert _run(command) == 0, command


@pytest.mark.slow
def test_the_tour_leaves_what_it_says(docs_workspace: Path) -> None:
    assert _run("covseg segment scan.nii.gz --output results") == 0
    written = {path.name for path in (docs_workspace / "results").glob("[!.]*")}
    assert written == {"scan_labels.nii.gz", "scan.json"}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_blocks_left_out_hold_no_command_of_ours(page: Path) -> None:
    for mark, text in _blocks(page, "bash"):
        assert mark in ("", "no-run")
        if mark == "no-run":
            assert {line.split()[0] for line in text.splitlines() if line} <= LEFT_OUT


@pytest.mark.slow
@pytest.mark.parametrize("page", _with("python"), ids=_name)
def test_python_runs(page: Path, docs_workspace: Path) -> None:
    for _, text in _blocks(page, "python"):
        exec(compile(text, _name(page), "exec"), {})
