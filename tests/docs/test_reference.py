"""The reference of the command line is made from the parsers, and says what ``--help`` says."""

import re
import runpy
from pathlib import Path

import pytest

from napari_covseg.cli.main import VERBS, build_parser, main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "cli.md"
TOOL = runpy.run_path(str(ROOT / "tools" / "cli_reference.py"))


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert TOOL["rebuilt"](text) == text, "run: make docs"


def test_a_page_out_of_date_is_noticed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert TOOL["rebuilt"](text.replace("`--output DIR`", "`--out DIR`")) == text


ALL_VERBS = tuple(TOOL["verbs"](build_parser()))
GROUPS = {name.split()[0] for name in ALL_VERBS if " " in name}


def test_verbs_of_verbs_are_on_the_page_too() -> None:
    assert {verb.replace("_", "-") for verb in VERBS} < set(ALL_VERBS)
    assert "dataset add" in ALL_VERBS


@pytest.mark.parametrize("verb", [name for name in ALL_VERBS if name not in GROUPS])
def test_every_option_of_help_is_on_the_page(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help"])
    flags = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", capsys.readouterr().out)) - {"--help"}
    _, rest = PAGE.read_text(encoding="utf-8").split(f"## covseg {verb}\n")
    section = rest.split("\n## ")[0]
    assert flags
    for flag in flags:
        assert f"`{flag}" in section
