"""Install a built wheel where nothing of the repository is, and use it as a person does.

``python tools/try_wheel.py DIST [--qt pyside6|pyqt6] [--packages-of FOLDER]``: DIST holds one
wheel. FOLDER, the site-packages of another environment of the same Python, lends everything but
this package and Qt, to spare the download of PyTorch. Without a display on Linux, Xvfb is used.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
QT = {"pyside6": "PySide6", "pyqt6": "PyQt6"}
NOT_LENT = ("pyside6", "shiboken6", "pyqt", "napari_covseg", "napari-covseg", "__editable__")


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    windows = os.name == "nt"
    return environment / ("Scripts" if windows else "bin") / ("python.exe" if windows else "python")


def lend(packages: Path, folder: Path) -> None:
    """Link what ``packages`` holds, but not this package nor Qt, from ``folder``."""
    folder.mkdir()
    for item in packages.iterdir():
        if not item.name.lower().startswith(NOT_LENT) and item.suffix != ".pth":
            (folder / item.name).symlink_to(item, target_is_directory=item.is_dir())


def make_environment(folder: Path, wheel: Path, qt: str, packages: Path | None) -> Path:
    """A new environment with the wheel, napari and one Qt; its interpreter."""
    venv.create(folder, with_pip=True)
    python = python_of(folder)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if packages is None:
        subprocess.run([*install, str(wheel), "napari", *_qt(qt)], check=True)
        return python
    lent = folder / "lent"
    lend(packages, lent)
    found = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    Path(found.stdout.strip(), "lent.pth").write_text(f"{lent}\n", encoding="utf-8")
    subprocess.run([*install, *_qt(qt)], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    return python


def _qt(qt: str) -> list[str]:
    """The requirement for a Qt; setup.cfg says why one release of PySide6 is left out."""
    return ["PySide6!=6.12.0"] if qt == "pyside6" else [QT[qt]]


def main() -> int:
    """The process's exit status."""
    parser = argparse.ArgumentParser(description="Try a built wheel in a bare environment.")
    parser.add_argument("dist", type=Path)
    parser.add_argument("--qt", choices=QT, default="pyside6")
    parser.add_argument("--packages-of", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    wheels = sorted(args.dist.resolve().glob("*.whl"))
    if len(wheels) != 1:
        print(f"{args.dist}: holds {len(wheels)} wheels, one was expected")
        return 2
    subprocess.run([sys.executable, str(TOOLS / "wheel_contents.py"), str(wheels[0])], check=True)
    packages = args.packages_of.resolve() if args.packages_of else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bare = Path(folder)
        python = make_environment(bare / "environment", wheels[0], args.qt, packages)
        script = shutil.copy(TOOLS / "wheel_smoke.py", bare)
        screen = []
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            screen = ["xvfb-run", "-a", "-s", "-screen 0 1400x900x24"]
        command = [*screen, str(python), "-I", script, QT[args.qt]]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env |= {"QT_API": args.qt, "XDG_CONFIG_HOME": str(bare), "HOME": str(bare)}
        return subprocess.run(command, cwd=bare, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
