"""``kill -9`` at random moments of saving, importing, retraining, promoting and exporting.

python tools/soak/kill.py [--kills 100] [--seed 0] [--only ACTION,...]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import kill_actions  # noqa: E402
import killed  # noqa: E402


def main() -> int:
    """Ends with an AssertionError at the first loss."""
    options = _options()
    actions = options.only.split(",") if options.only else sorted(kill_actions.LONG)
    context, rng, counts = killed.killing_context(), random.Random(options.seed), Counter[str]()
    started, said = time.monotonic(), 0
    with TemporaryDirectory(prefix="covseg-kill-") as folder:
        scenes = {action: _scene(Path(folder) / action, action) for action in actions}
        told: dict[str, killed.Told] = {action: [] for action in actions}
        for number in range(options.kills):
            action = actions[number % len(actions)]
            store, own = scenes[action]
            new = killed.until_killed(
                context, kill_actions.LONG[action], store, own, number + 1, rng
            )
            told[action] = new if action == "train" else told[action] + new
            said, counts[action] = said + len(new), counts[action] + 1
            killed.check_store(store, told[action])
            if action == "train":
                killed.check_training(own, new)
            if action == "export":
                killed.check_exports(own)
    kinds = ", ".join(f"{action} {count}" for action, count in sorted(counts.items()))
    print(
        f"{options.kills} kills ({kinds}), {said} times told that something is certain: nothing "
        f"lost, {time.monotonic() - started:.0f} s"
    )
    return 0


def _scene(folder: Path, action: str) -> tuple[Path, Path]:
    """A store with something accepted, and a folder for what the action makes."""
    from small_stores import corrected, new_store, predicted

    if action == "retrain":
        from toy_stores import toy_store, untrained

        from napari_covseg.workflows.models import add_model

        store = toy_store(folder / "store", 4)
        base = add_model(store, str(untrained(folder / "base")), author="A")
        store.promote(base.sha256, by="A", why="to start with")
    else:
        store = new_store(folder / "store")
        store.accept(corrected(store, predicted(store)).id, reader="A", whole=True)
    return store.folder, folder / "own"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
