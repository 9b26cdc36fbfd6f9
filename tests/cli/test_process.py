"""The process of one command is tuned; a program that calls the command line is left alone."""

import gc
import subprocess
import sys

from napari_covseg.cli.main import main

_TELL = "import gc; from napari_covseg.cli.main import main\n{}\nprint(gc.get_threshold()[0])"


def _threshold(call: str) -> int:
    code = f"import sys; sys.argv = ['covseg', 'info', 'none.nii']\n{_TELL.format(call)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def test_only_the_program_itself_changes_how_garbage_is_collected() -> None:
    usual = gc.get_threshold()[0]
    assert _threshold("main()") == 100_000
    assert _threshold("main(['info', 'none.nii'])") == usual
    main(["info", "none.nii"])
    assert gc.get_threshold()[0] == usual
