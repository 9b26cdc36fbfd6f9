"""On PyPI the README's pictures show and its links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("pypi_readme", ROOT / "tools" / "pypi_readme.py")
pypi_readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pypi_readme)
AT = "https://github.com/a/b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("![A CT](docs/ct.png)", f"![A CT]({AT}/raw/v1/docs/ct.png)"),
        ("see [how\nto](docs/x.md#part).", f"see [how\nto]({AT}/blob/v1/docs/x.md#part)."),
        ("[napari](https://napari.org)", "[napari](https://napari.org)"),
        ("[below](#part)", "[below](#part)"),
        ("[a] (b) `x[0](1)` is no link to a file", None),
    ],
)
def test_links(text, expected):
    found = pypi_readme.absolute(text, "a/b", "v1")
    assert found == expected if expected else "[a] (b)" in found


def test_nothing_relative_is_left_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    relative = re.compile(r"\]\((?!https?://|#)")
    assert relative.search(text)
    found = pypi_readme.absolute(text, "a/b", "v1")
    assert not relative.search(found)
    assert f"{AT}/raw/v1/docs/images/screenshot.png" in found


def test_the_release_does_it_before_it_builds():
    steps = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert 0 < steps.index("tools/pypi_readme.py") < steps.index("make wheel-test")
