"""Damaged files to every reader: 10,000 of them, none with a traceback, a hang or 2 GB.

python tools/soak/fuzz.py [--inputs 10000] [--seed 0] [--only TARGET,...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import fuzz_mutations  # noqa: E402
import fuzz_seeds  # noqa: E402
import guarded  # noqa: E402


def main() -> int:
    """Exit code 1 if anything was found; each kind of finding is told once, with its file."""
    options = _options()
    seeds = fuzz_seeds.seeds(options.data if options.data.is_dir() else None)
    if options.only:
        seeds = [one for one in seeds if one.target in options.only.split(",")]
    by_target = sorted({one.target for one in seeds})
    donors = [one.content for one in seeds if len(one.content) < 20_000]
    findings: dict[str, int] = {}
    counts, refused, slowest, most = Counter[str](), 0, 0.0, 0
    started = time.monotonic()
    _preload()
    with guarded.Guarded("fork") as reader:
        for number in range(options.inputs):
            rng = Random(f"{options.seed}/{number}")
            # Half of them evenly over the readers, half over the files, of which DICOM has most.
            target = rng.choice(by_target) if number % 2 else ""
            seed = rng.choice([one for one in seeds if target in (one.target, "")])
            content = fuzz_mutations.mutate(seed.content, rng, donors)
            outcome = reader.read(seed.target, seed.name, content)
            counts[seed.target] += 1
            refused += outcome.said != "read"
            slowest, most = max(slowest, outcome.seconds), max(most, outcome.peak_bytes)
            if outcome.problem:
                _tell(findings, options.keep, number, seed, content, outcome.problem)
            if number % 1000 == 999:
                _progress(number + 1, options.inputs, time.monotonic() - started)
    print(
        f"{options.inputs} inputs, {refused} refused or failed, {len(findings)} kinds of finding; "
        f"slowest {slowest:.1f} s, most memory {most / 2**20:.0f} MiB, "
        f"{time.monotonic() - started:.0f} s in all"
    )
    print(", ".join(f"{target} {count}" for target, count in sorted(counts.items())))
    for problem, count in sorted(findings.items(), key=lambda item: -item[1]):
        print(f"{count} x {problem[:300]}")
    return 1 if findings else 0


def _preload() -> None:
    """Load what readers load, once: a child that is started anew has it."""
    import fuzz_targets
    import highdicom  # noqa: F401
    import nibabel  # noqa: F401
    import torch
    from PIL import Image  # noqa: F401

    torch.set_num_threads(1)
    fuzz_targets._scene()
    fuzz_targets._model_scene()


def _tell(
    findings: dict[str, int],
    keep: Path | None,
    number: int,
    seed: fuzz_seeds.Seed,
    content: bytes,
    problem: str,
) -> None:
    kind = f"{seed.target}: {problem}"
    findings[kind] = findings.get(kind, 0) + 1
    if findings[kind] == 1:
        print(f"input {number} ({seed.name}): {kind[:300]}", flush=True)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}-{seed.target}-{Path(seed.name).name}").write_bytes(content)


def _progress(done: int, total: int, seconds: float) -> None:
    print(f"{done} of {total}, {seconds:.0f} s", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
