"""What the verbs of ``covseg dataset`` do and print."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.author import author_of
from napari_covseg.cli.dataset_index import minutes_of
from napari_covseg.cli.output import (
    aligned,
    complain,
    exit_code,
    one_line,
    print_json,
    progress_bars,
)
from napari_covseg.cli.reading import label_map_of, window_of
from napari_covseg.domain.errors import InputError, UsageError

if TYPE_CHECKING:
    from napari_covseg.cases.records import CaseRecord, LabelVersion
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.dataset_add import Added


def _open(args: argparse.Namespace) -> CaseStore:
    from napari_covseg.cases.store import CaseStore

    return CaseStore.open(Path(args.store))


def run_add(args: argparse.Namespace) -> int:
    """Add cases, or a version of one; the exit code is the worst of the inputs'."""
    if args.case:
        return _add_version(args)
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.dataset_add import AddRequest, add_cases

    if args.reviewed or args.minutes:
        raise UsageError("--reviewed and --minutes go with --case")
    request = AddRequest(
        inputs=tuple(map(Path, args.inputs)),
        author=author_of(args),
        labels=Path(args.labels) if args.labels else None,
        label_map=label_map_of(args.label_map),
        patients=Path(args.patients) if args.patients else None,
        accept=args.accept,
        keep_names=args.keep_names,
        series=args.series,
        window=window_of(args),
    )
    with progress_bars() as start:
        added = run_to_end(add_cases(_open(args), request), start("add"))
    if args.json:
        print_json(_added(added))
    for one in added:
        if one.error is not None:
            complain(f"covseg: {one_line(one.error)}")
        elif not args.json:
            there = ", was there already" if one.already_there else ""
            print(f"{one.source}: {one.case} of {one.patient}, {one.state}{there}")
            for warning in one.warnings:
                complain(f"{one.source}: {warning}")
    return max((exit_code(one.error) for one in added if one.error is not None), default=0)


def _added(added: list[Added]) -> dict[str, Any]:
    cases = [
        {
            "input": one.source,
            "case": one.case,
            "patient": one.patient,
            "state": one.state,
            "already_there": one.already_there,
            "warnings": list(one.warnings),
        }
        for one in added
        if one.error is None
    ]
    errors = [
        {"input": one.source, "error": one_line(one.error)}
        for one in added
        if one.error is not None
    ]
    return {"cases": cases, "errors": errors}


def _add_version(args: argparse.Namespace) -> int:
    from napari_covseg.workflows.dataset_add import add_labels

    if len(args.inputs) != 1:
        raise UsageError("--case takes one label file as INPUT")
    store, author = _open(args), author_of(args)
    version = add_labels(
        store,
        args.case,
        Path(args.inputs[0]),
        author=author,
        label_map=label_map_of(args.label_map),
        reviewed=_slices(args.reviewed, store.case(args.case)),
        minutes=args.minutes,
    )
    branches = store.branches(version.id)
    if args.accept:
        store.accept(version.id, reader=author)
    if args.json:
        print_json({**_version(version), "beside": [one.number for one in branches]})
        return 0
    print(f"{args.case}: version {version.number}, {version.edited_voxels} voxels changed")
    for one in branches:
        complain(f"{args.case}: version {one.number} of {one.author} stands beside it")
    record = store.case(args.case)
    if record.claimed_by not in ("", author):
        complain(f"{args.case}: in work by {_in_work(record)}; what they save will stand beside it")
    return 0


def _slices(text: str | None, case: CaseRecord) -> frozenset[int] | None:
    from napari_covseg.cases.encoding import numbers_from

    if text is None:
        return None
    if text.strip().lower() == "all":
        return frozenset(range(case.geometry.shape[0]))
    try:
        return numbers_from(text)
    except ValueError:
        raise UsageError(f"--reviewed {text}: expected slices such as 0-30,45, or all") from None


def run_list(args: argparse.Namespace) -> int:
    """List the cases."""
    from napari_covseg.cases.records import State

    store = _open(args)
    states = [State(args.state)] if args.state else None
    cases = store.cases(states=states, patient=args.patient)
    if args.json:
        live = store.live_model()
        print_json({"cases": [_case(one) for one in cases], "live_model": live and live.sha256})
        return 0
    rows = [["Case", "Patient", "State", "Versions", "In work by", "Difficulty", "Comment"]]
    rows += [
        [
            *(one.name, one.patient, one.state, str(one.versions), _in_work(one)),
            *(one.difficulty or "", one.comment),
        ]
        for one in cases
    ]
    print(aligned(rows))
    counts = {state: sum(one.state == state for one in cases) for state in State}
    print(", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no cases")
    return 0


def _in_work(case: CaseRecord) -> str:
    until = case.claimed_until
    return "" if until is None else f"{case.claimed_by} until {until:%H:%M} UTC"


def run_next(args: argparse.Namespace) -> int:
    """Serve the next case."""
    from napari_covseg.cases.order import TO_ANNOTATE, TO_REVIEW
    from napari_covseg.cases.queue import Order
    from napari_covseg.workflows.store_models import hash_of

    store, author = _open(args), author_of(args)
    model = hash_of(store, args.model)
    wanted: dict[str, Any] = {
        "order": Order(args.order),
        "model": model,
        "states": TO_REVIEW if args.review else TO_ANNOTATE,
        "second_reader": args.review,
    }
    if args.peek:
        case = next(iter(store.queue(author, **wanted)), None)
    else:
        case = store.next_case(author, **wanted, minutes=minutes_of(args))
    if case is None:
        raise InputError(f"{Path(args.store).name}: no case waits for {author}")
    image = str(store.image_path(case.name))
    score = store.scores(model).get(case.name) if model else None
    if args.json:
        first = None if score is None else score.slice
        print_json({**_case(case), "image": image, "slice": first})
    else:
        print(f"{case.name}: {case.state}, {case.versions} versions\n{image}")
        if score is not None and score.slice is not None:
            print(f"begin with slice {score.slice}")
    return 0


def run_history(args: argparse.Namespace) -> int:
    """Show a case's versions."""
    store = _open(args)
    versions, record = store.history(args.case), store.case(args.case)
    if args.json:
        reviews = [
            {
                "reader": one.reader,
                "time": one.created.isoformat(),
                "decision": one.decision,
                "comment": one.comment,
            }
            for one in store.reviews(args.case)
        ]
        print_json(
            {**_case(record), "history": [_version(one) for one in versions], "reviews": reviews}
        )
        return 0
    numbers = {one.id: one.number for one in versions}
    rows = [["", "Time (UTC)", "Kind", "Author", "From", "Slices", "Voxels", "Minutes", "SHA-256"]]
    rows += [
        [
            f"{one.number}{'*' if one.id == record.accepted else ''}",
            *(f"{one.created:%Y-%m-%d %H:%M}", one.kind, one.author),
            str(numbers.get(one.parent or "", "")),
            *(str(len(one.reviewed)), str(one.edited_voxels), f"{one.minutes:.1f}"),
            one.sha256[:12],
        ]
        for one in versions
    ]
    print(aligned(rows))
    if record.accepted:
        print("* accepted")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Take up an old version again."""
    from napari_covseg.workflows.dataset_export import find_version

    store, author = _open(args), author_of(args)
    old = find_version(store, args.case, args.version)
    version = store.restore(old.id, author=author).version
    if args.json:
        print_json(_version(version))
    else:
        print(f"{args.case}: version {version.number} has the labels of version {old.number}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Check every file; 3 if one is not sound."""
    problems = _open(args).verify()
    wrong = [one for one in problems if not one.harmless]
    if args.json:
        print_json(
            {
                "sound": not wrong,
                "problems": [
                    {"file": one.file, "message": one.message, "harmless": one.harmless}
                    for one in problems
                ],
            }
        )
    else:
        for one in problems:
            print(f"{one.file}: {one.message}")
        print("every file is what was saved" if not wrong else f"{len(wrong)} files are not sound")
    return InputError.exit_code if wrong else 0


def run_export(args: argparse.Namespace) -> int:
    """Write a dataset, or one label map."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.dataset_export import export_dataset, export_labels

    store, output = _open(args), Path(args.output)
    if args.case:
        if args.all:
            raise UsageError("--all and --case contradict each other")
        written = export_labels(store, args.case, output, version=args.version)
        if args.json:
            print_json({"case": args.case, "file": str(written)})
        else:
            print(written)
        return 0
    if args.version is not None:
        raise UsageError("--version goes with --case")
    with progress_bars() as start:
        done = run_to_end(export_dataset(store, output, everything=args.all), start("export"))
    if args.json:
        print_json(
            {
                "folder": str(done.folder),
                "accepted": list(done.accepted),
                "others": list(done.others),
            }
        )
    else:
        more = f", {len(done.others)} others" if args.all else ""
        print(f"{done.folder}: {len(done.accepted)} accepted cases{more}")
    return 0


def _case(one: CaseRecord) -> dict[str, Any]:
    from napari_covseg.cases.encoding import ranges_from

    return {
        "case": one.name,
        "patient": one.patient,
        "state": one.state,
        "comment": one.comment,
        "difficulty": one.difficulty,
        "added": one.added.isoformat(),
        "claimed_by": one.claimed_by,
        "claimed_until": one.claimed_until and one.claimed_until.isoformat(),
        "versions": one.versions,
        "accepted": one.accepted,
        "accepted_slices": ranges_from(one.accepted_slices),
        "shape_zyx": list(one.geometry.shape),
    }


def _version(one: LabelVersion) -> dict[str, Any]:
    from napari_covseg.cases.encoding import ranges_from

    return {
        "id": one.id,
        "case": one.case,
        "number": one.number,
        "sha256": one.sha256,
        "kind": one.kind,
        "author": one.author,
        "time": one.created.isoformat(),
        "parent": one.parent,
        "merged": one.merged,
        "model": one.model,
        "reviewed": ranges_from(one.reviewed),
        "edited_voxels": one.edited_voxels,
        "minutes": one.minutes,
        "comment": one.comment,
        "set_aside": one.set_aside,
    }
