"""Let this environment see the packages of another, its own first.

``python tools/see_packages.py PYTHON``, run by the python of the environment that is to see them.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def main(other: str) -> None:
    """Write a ``.pth`` that adds the other's folder, with the editable installs it names."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = subprocess.run([other, "-c", ask], capture_output=True, text=True, check=True)
    line = f"import site; site.addsitedir({theirs.stdout.strip()!r})\n"
    Path(sysconfig.get_path("purelib"), "seen.pth").write_text(line, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
