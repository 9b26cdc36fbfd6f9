"""The script by which CI notices that real-data tests did not run."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "check_real_data.py"
PASSED = """<testcase classname="tests.a" name="x">
<properties><property name="real_data" value="true"/></properties></testcase>"""
NO_DATA = PASSED.replace(
    "</properties>",
    '</properties><skipped type="pytest.skip" message="development data not found: set it"/>',
)
NO_GPU = PASSED.replace("</properties>", '</properties><skipped message="no GPU here"/>')
FAILED = PASSED.replace("</properties>", '</properties><failure message="no"/>')
OTHER = '<testcase classname="tests.b" name="y"/>'


def _run(tmp_path: Path, *cases: str, data: bool = True) -> subprocess.CompletedProcess[str]:
    junit = tmp_path / "junit.xml"
    junit.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    folder = tmp_path / "data"
    if data:
        folder.mkdir()
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(junit)],
        env={"COVSEG_DATA": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("cases", "status"),
    [
        ((PASSED, OTHER), 0),
        ((PASSED, NO_GPU), 0),
        ((OTHER,), 1),
        ((PASSED, NO_DATA), 1),
        ((NO_DATA,), 1),
        ((FAILED,), 1),
    ],
)
def test_real_data_tests_must_run_where_the_data_is(
    tmp_path: Path, cases: tuple[str, ...], status: int
) -> None:
    assert _run(tmp_path, *cases).returncode == status


def test_without_data_nothing_is_asked(tmp_path: Path) -> None:
    done = _run(tmp_path, NO_DATA, data=False)
    assert done.returncode == 0
    assert "No development data" in done.stdout


def test_what_was_skipped_is_named(tmp_path: Path) -> None:
    assert "tests.a::x" in _run(tmp_path, PASSED, NO_DATA).stdout
