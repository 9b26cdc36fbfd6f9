"""Licences are read from metadata, weighed, and told."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "licences.md"
SPEC = importlib.util.spec_from_file_location("licences", ROOT / "tools" / "licences.py")
licences = importlib.util.module_from_spec(SPEC)
sys.modules["licences"] = licences  # dataclasses look their module up
SPEC.loader.exec_module(licences)


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "LGPL-3.0-only OR GPL-2.0-only OR GPL-3.0-only",
        "MPL-2.0 AND MIT",
        "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-3-Clause",
        "MIT AND (GPL-3.0-only OR BSD-3-Clause)",
    ],
)
def test_permitted(expression):
    assert licences.permitted(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "AGPL-3.0-only OR GPL-3.0-only",
        "(GPL-3.0-only OR AGPL-3.0-only) AND MIT",
        "LicenseRef-NVIDIA-Proprietary",
        "OSI Approved",
    ],
)
def test_refused(expression):
    assert not licences.permitted(expression)


@pytest.mark.parametrize(
    ("name", "metadata", "classifiers", "licence"),
    [
        ("a", {"License-Expression": "MIT", "License": "GPL"}, ["License :: GPL"], "MIT"),
        ("a", {"License": "long text\nof BSD"}, ["License :: OSI Approved :: BSD License"], "BSD"),
        ("a", {"License": "Apache 2.0"}, [], "Apache-2.0"),
        ("a", {"License": "UNKNOWN"}, ["License :: OSI Approved"], ""),
        ("a", {}, ["Topic :: MIT License"], ""),
        ("a", {"License": "GPLv3"}, [], "GPLv3"),
        ("lungmask", {}, [], "Apache-2.0"),
    ],
)
def test_licence_of(name, metadata, classifiers, licence):
    assert licences.licence_of(name, metadata, classifiers) == licence


def test_a_fault_names_the_package_and_who_asks_for_it():
    assert licences.Needed("a", "GPL-3.0-only", "b").fault == "a (b): GPL-3.0-only"
    assert licences.Needed("a", "", "b").fault == "a (b): no licence in its metadata"
    assert licences.Needed("a", "MIT", "b").fault == ""
    proprietary = "LicenseRef-NVIDIA-Proprietary"
    assert licences.Needed("nvidia-cublas", proprietary, "torch").fault == ""
    assert licences.Needed("not-nvidia-cublas", proprietary, "torch").fault != ""


def test_the_page_lists_what_setup_cfg_asks_for():
    page = PAGE.read_text(encoding="utf-8")
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    required = text.partition("install_requires =")[2].partition("\n\n")[0].split()
    assert len(required) > 20
    for line in required:
        assert f"| {licences.key(line.partition('>')[0])} | " in page, line


def test_only_the_generated_part_is_made_anew():
    text = f"by hand\n{licences.BEGIN}old\n{licences.END}after\n"
    made = licences.rebuilt(text, "new\n")
    assert made.startswith("by hand\n")
    assert made.endswith("after\n")
    assert "new" in made
    assert "old" not in made
