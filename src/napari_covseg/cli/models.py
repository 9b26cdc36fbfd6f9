"""``covseg models``: the models of a case store, and which of them is live."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.author import add_author, author_of
from napari_covseg.cli.gate_table import decision_text
from napari_covseg.cli.output import print_json, progress_bars
from napari_covseg.cli.retrain import add_margins, margins_of
from napari_covseg.cli.scoring import aligned

if TYPE_CHECKING:
    from napari_covseg.cases.records import ModelRecord, Promotion
    from napari_covseg.cases.store import CaseStore

_MODEL = "start of its hash; live and shipped (with the package) stand for those"


def add_parser(subparsers: Any) -> None:
    """Add the verb and its own verbs."""
    parser = subparsers.add_parser(
        "models",
        help="list, compare, promote and roll back the models of a case store",
        description="The models of a case store: where each came from, how good it was, and which "
        "one is live.",
    )
    verbs = parser.add_subparsers(dest="models_verb", metavar="VERB", required=True)
    _verb(verbs, "list", "List the models, the live one marked", run_list)
    add = _verb(verbs, "add", "Bring a model into the store; it does not go live by this", run_add)
    add.add_argument("folder", metavar="FOLDER", help="folder of the model, or its card")
    add_author(add)
    show = _verb(verbs, "show", "Show all that is known of a model", run_show)
    show.add_argument("model", metavar="MODEL", help=_MODEL)
    text = "Say what the gate would say if NEW was to replace OLD; promotes nothing"
    compare = _verb(verbs, "compare", text, run_compare)
    compare.add_argument("old", metavar="OLD", help=_MODEL)
    compare.add_argument("new", metavar="NEW", help=_MODEL)
    compare.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="default auto"
    )
    add_margins(compare)
    add_author(compare)
    text = "Make a model live, also against the gate; the reason is kept"
    promote = _verb(verbs, "promote", text, run_promote)
    promote.add_argument("model", metavar="MODEL", help="start of its hash")
    promote.add_argument("--why", required=True, metavar="TEXT", help="reason, kept with it")
    add_author(promote)
    rollback = _verb(verbs, "rollback", "Bring back the model that was live before", run_rollback)
    rollback.add_argument("--why", required=True, metavar="TEXT", help="reason, kept with it")
    add_author(rollback)


def _verb(
    verbs: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A verb on a store."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text}.")
    parser.add_argument("store", metavar="STORE", help="folder of the case store")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.set_defaults(func=run)
    return parser


def run_list(args: argparse.Namespace) -> int:
    """Every model, the oldest first."""
    from napari_covseg.workflows.models import last_decision

    store = _open(args)
    live = store.live_model()
    rows: list[dict[str, Any]] = []
    for one in store.models():
        decision = last_decision(store, one)
        rows.append(
            {
                "sha256": one.sha256,
                "name": one.name,
                "live": live is not None and one.sha256 == live.sha256,
                "created": one.created.isoformat(timespec="minutes"),
                "parent": one.parent,
                "cases": len(one.trained_on),
                "gate": None if decision is None else decision.promote,
            }
        )
    if args.json:
        print_json({"live": live.sha256 if live else None, "models": rows})
        return 0
    said = {None: "not judged", True: "passed", False: "refused"}
    head = ["", "model", "name", "made", "cases", "gate"]
    cells = [
        [
            "live" if row["live"] else "",
            row["sha256"][:8],
            row["name"],
            row["created"][:16].replace("T", " "),
            str(row["cases"]),
            said[row["gate"]],
        ]
        for row in rows
    ]
    shipped = ["" if live else "live", "shipped", "with the package", "", "", ""]
    print(aligned([head, shipped, *cells], left=4))
    return 0


def run_add(args: argparse.Namespace) -> int:
    """Bring a model in."""
    from napari_covseg.workflows.models import add_model

    record = add_model(_open(args), args.folder, author=author_of(args))
    if args.json:
        print_json({"sha256": record.sha256, "name": record.name})
    else:
        told = f"{record.name} ({record.sha256[:8]}): in the store"
        print(f"{told}; covseg models promote makes it live")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """All about a model."""
    from napari_covseg.workflows.models import about_model, find_model, last_decision

    store = _open(args)
    record = find_model(store, args.model)
    if record is None:
        _show_shipped(store, args.json)
        return 0
    about = about_model(store, record)
    if args.json:
        print_json(about)
        return 0
    print(f"{record.name} ({record.sha256}){', live' if about['live'] else ''}")
    print(f"made {about['created'][:16].replace('T', ' ')} with version {about['code_version']}")
    print(f"from {record.parent or 'no other model'}")
    print(f"trained on {len(record.trained_on)} cases of this store")
    for case, labels in record.trained_on:
        print(f"  {case}: labels {labels[:12]}")
    for one in store.promotions():
        if one.model == record.sha256:
            print(_promotion(one))
    decision = last_decision(store, record)
    print(decision_text(decision) if decision else "the gate has not judged it")
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """What the gate would say."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.models import compare_models, find_model

    store = _open(args)
    old, new = (find_model(store, name) for name in (args.old, args.new))
    rule = margins_of(args)
    steps = compare_models(store, old, new, author=author_of(args), device=args.device, rule=rule)
    with progress_bars() as start:
        decision = run_to_end(steps, start("compare"))
    if args.json:
        print_json(decision.to_dict())
    else:
        print(decision_text(decision))
    return 0


def run_promote(args: argparse.Namespace) -> int:
    """Make a model live."""
    from napari_covseg.workflows.models import promote_model

    store = _open(args)
    done = promote_model(store, store.model(args.model), by=author_of(args), why=args.why)
    return _changed(done, store.model(args.model), args.json)


def run_rollback(args: argparse.Namespace) -> int:
    """Bring back the model before."""
    store = _open(args)
    done = store.rollback(by=author_of(args), why=args.why)
    return _changed(done, store.live_model(), args.json)


def _open(args: argparse.Namespace) -> CaseStore:
    from napari_covseg.cases.store import CaseStore

    return CaseStore.open(Path(args.store))


def _changed(done: Promotion, model: ModelRecord | None, as_json: bool) -> int:
    from napari_covseg.workflows.models import promotion_dict

    if as_json:
        print_json(promotion_dict(done))
    else:
        name = f"{model.name} ({model.sha256[:8]})" if model else "the model of the package"
        print(f"{name} is live" + (", against the gate or without it" if done.forced else ""))
    return 0


def _promotion(one: Promotion) -> str:
    how = "brought back" if one.rollback else "promoted"
    against = ", against the gate or without it" if one.forced else ""
    return f"{how} by {one.by}, {one.when:%Y-%m-%d %H:%M} UTC{against}: {one.why}"


def _show_shipped(store: CaseStore, as_json: bool) -> None:
    from napari_covseg.models.zoo import DEFAULT, load

    model = load(DEFAULT)
    live = store.live_model() is None
    if as_json:
        print_json({"sha256": model.sha256, "name": model.name, "live": live})
    else:
        print(f"{model.name} {model.version} ({model.sha256}){', live' if live else ''}")
