"""Everything at its lower bound: ``python tools/lowest.py FOLDER``.

Writes ``FOLDER/requirements.txt``: what ``setup.cfg`` names, its extra ``dev`` too, at the bounds
there, and the newest of what those need. Fails where they do not fit together, and says why: a
bound that nobody can install is one that nobody has tested. Needs ``uv``.
"""

import configparser
import re
import subprocess
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
OLDEST_PYTHON = "3.11"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)")


def key(name: str) -> str:
    """A name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bounds(setup_cfg: str) -> dict[str, str]:
    """The lower bound of each requirement in ``setup.cfg``, those of extras too; "" for none."""
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(setup_cfg)
    lines = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    found: dict[str, str] = {}
    for line in "\n".join(lines).splitlines():
        matched = _REQUIREMENT.match(line.strip())
        if matched:
            lower = re.search(r">=\s*([0-9.]+)", matched[2])
            found[key(matched[1])] = lower[1] if lower else ""
    return found


def constraints(lower: dict[str, str]) -> str:
    """A file that holds everything at its bound; 3.0 stands for its first release, 3.0.1 if so."""
    return "".join(f"{name}=={bound}.*\n" for name, bound in lower.items())


def main() -> int:
    """The process's exit status."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lower = bounds(SETUP.read_text(encoding="utf-8"))
    missing = [name for name, bound in lower.items() if not bound]
    if missing:
        print(f"no lower bound in setup.cfg: {', '.join(missing)}")
        return 1
    held = folder / "constraints.txt"
    held.write_text(constraints(lower), encoding="utf-8")
    beside = Path(sys.executable).with_name("uv")
    command = [str(beside) if beside.exists() else "uv", "pip", "compile", str(SETUP)]
    command += ["--extra", "dev", "--constraint", str(held), "--resolution", "lowest-direct"]
    command += ["--python-version", OLDEST_PYTHON, "--no-annotate", "--no-header", "--quiet"]
    command += ["--output-file", str(folder / "requirements.txt")]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
