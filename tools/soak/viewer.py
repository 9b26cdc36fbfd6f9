"""Memory over 200 open-segment-correct-close cycles in one napari session, beside bare napari.

python tools/soak/viewer.py [--cycles 200] [--output FILE.json]    (needs a display: xvfb-run)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
WARM_UP = 20
"""Cycles before the memory is first looked at: caches of Qt, OpenGL and Python fill up."""
MOST_GROWTH = 0.05


def main() -> int:
    """Exit code 1 if memory grew by more than 5 % beyond what bare napari's did."""
    options = _options()
    if options.run:
        _run(options.run, options.cycles)
        return 0
    found = {}
    for kind in ("bare", "workspace"):
        command = [sys.executable, __file__, "--run", kind, "--cycles", str(options.cycles)]
        with TemporaryDirectory() as home:
            ended = subprocess.run(
                command,
                env={**os.environ, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        found[kind] = json.loads(ended.stdout.splitlines()[-1])
        curve = found[kind]["mib"]
        print(f"{kind}: {curve[0]:.0f} MiB after {WARM_UP} cycles, {curve[-1]:.0f} at the end")
    growth = {kind: one["mib"][-1] - one["mib"][0] for kind, one in found.items()}
    share = (growth["workspace"] - growth["bare"]) / found["workspace"]["mib"][0]
    print(f"growth beyond bare napari's: {100 * share:.1f} % over {options.cycles} cycles")
    if options.output:
        options.output.write_text(json.dumps({"growth_share": share, **found}, indent=1) + "\n")
    return 1 if share > MOST_GROWTH else 0


def _run(kind: str, cycles: int) -> None:
    import napari
    import viewer_cycles as cycle_of
    from napari._app_model import get_app_model

    phantom = cycle_of.small_phantom()
    get_app_model()
    viewer = napari.Viewer(show=True)
    mib, started = [], time.process_time()
    with TemporaryDirectory() as drafts, cycle_of.no_network(phantom, Path(drafts)):
        work = {"bare": cycle_of.Bare, "workspace": cycle_of.Workspace}[kind](viewer, phantom)
        for number in range(1, cycles + 1):
            work.cycle()
            if number >= WARM_UP and (number % 10 == 0 or number == cycles):
                mib.append(cycle_of.memory_bytes() / 2**20)
                print(number, f"{mib[-1]:.1f} MiB", file=sys.stderr, flush=True)
    print(json.dumps({"mib": mib, "cpu_seconds": time.process_time() - started}), flush=True)
    # Closing the window is not what is measured.
    os._exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--run", choices=("bare", "workspace"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
