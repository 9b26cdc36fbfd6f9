"""The start that is measured without this plugin is without it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("words", "found"), [(["discovery"], 1), (["discovery", "without"], 0)])
def test_plugins_are_found_with_ours_and_without(words, found):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.start_child", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"found": found}
