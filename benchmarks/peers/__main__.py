"""The peers alone: ``python -m benchmarks.peers [--slices N] [--peer-python PATH]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.inputs import make_inputs
from benchmarks.peers.rows import PEER_PYTHON, peer_rows


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--inputs", type=Path, default=Path("build/bench"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="covseg-default")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    args = parser.parse_args()
    scan, _ = make_inputs(args.inputs, args.slices)
    for row in peer_rows(scan, args.model, args.device, args.slices, args.peer_python):
        print(row.markdown())


if __name__ == "__main__":
    main()
