"""``covseg classify-train``: train classifiers of pictures and measure them on held-out ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import aligned, complain, print_json

if TYPE_CHECKING:
    from napari_covseg.training.image_finetune_settings import FineTuneSettings
    from napari_covseg.workflows.classify_train_request import ClassifyTrainResult

EIGHT = (
    *("knn", "svm_poly", "svm_rbf", "random_forest"),
    *("neural_network", "adaboost", "naive_bayes", "xgboost"),
)

_CANCELLED = (
    "cancelled: features in --cache are kept, and of --fine-tune what was trained; the same "
    "command goes on"
)


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "classify-train",
        help="train and measure classifiers of pictures, on a frozen network or end to end",
        description="Measure classifiers on held-out pictures and write the best to DIR/model.\n"
        "IMAGES is a CSV (file,label[,split][,group]), a folder with labels.csv, or a folder\n"
        "with a subfolder for each class.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", metavar="IMAGES", help="labelled pictures: PNG, JPEG or DICOM")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--within", default="", metavar="PREFIX", help="only files of the CSV that start so"
    )
    parser.add_argument(
        "--classifier",
        default="",
        metavar="NAME[,NAME...]",
        help=f"all, or some of {', '.join(EIGHT)}; of several the one with the least log loss out "
        "of bag is kept (default svm_poly)",
    )
    parser.add_argument("--name", default="classifier", help="of the classifier")
    _add_network(parser)
    _add_fine_tuning(parser)
    _add_measuring(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.set_defaults(func=run)


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features",
        default="",
        choices=("covseg", "covseg+imagenet", "resnet50", "inception_resnet_v2"),
        help="the frozen network (default covseg, the shipped one; covseg+imagenet has one with "
        "ImageNet's weights beside it, of the extra train)",
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="its ImageNet weights, .safetensors or .pth"
    )
    parser.add_argument(
        "--whole", action="store_true", help="take the whole last map, not its means"
    )
    parser.add_argument(
        "--keep", type=float, default=1.0, metavar="F", help="of each side, around the middle"
    )
    parser.add_argument("--clahe", action="store_true", help="equalise contrast")
    parser.add_argument("--cache", metavar="DIR", help="folder that features are kept in")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps")


def _add_fine_tuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "training the network itself",
        "Instead of a classifier on a frozen network. Stopped, it goes on with the same command.",
    )
    group.add_argument("--fine-tune", action="store_true", help="train the network end to end")
    group.add_argument(
        "--start",
        default=None,
        choices=("covseg", "imagenet", "random"),
        help="weights to start from (default covseg, the shipped segmentation network's encoder; "
        "imagenet needs the extra train)",
    )
    group.add_argument(
        "--epochs", type=int, default=None, metavar="N", help="over all pictures (default 15)"
    )
    group.add_argument(
        "--frozen",
        type=int,
        default=None,
        metavar="N",
        help="first blocks of 17 that stay as they are (default 6, of a random start none)",
    )
    group.add_argument(
        "--size", type=int, default=None, metavar="N", help="pixels a side (default 192)"
    )


def _fine_tuning(args: argparse.Namespace) -> FineTuneSettings | None:
    from napari_covseg.domain.errors import UsageError
    from napari_covseg.training.image_finetune_settings import FineTuneSettings

    given = {name: getattr(args, name) for name in ("start", "epochs", "frozen", "size")}
    given = {name: value for name, value in given.items() if value is not None}
    if not args.fine_tune:
        if given:
            raise UsageError(f"--{next(iter(given))} is for --fine-tune")
        return None
    frozen_only = {"--whole": args.whole, "--weights": args.weights, "--pca": args.pca}
    frozen_only |= {"--runs": args.runs, "--classifier": args.classifier}
    frozen_only |= {"--features": args.features}
    for name, value in frozen_only.items():
        if value:
            raise UsageError(f"{name} is for classifiers on a frozen network; not with --fine-tune")
    if args.start == "random":
        given.setdefault("frozen", 0)
    return FineTuneSettings(**given, seed=args.seed)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--held-out", default="", metavar="SPLIT", help="the split that measures and never trains"
    )
    parser.add_argument(
        "--folds", type=int, default=5, metavar="N", help="without a split: by group (default 5)"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=0,
        metavar="N",
        help="trainings of each, on bootstrap samples (default 100, with --whole 5)",
    )
    parser.add_argument(
        "--pca", type=int, default=0, metavar="N", help="reduce features to N numbers"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is random")
    parser.add_argument(
        "--positive",
        default="",
        metavar="CLASS",
        help="class that recall, precision, F1 and AUC are about (default: mean of all)",
    )
    parser.add_argument("--licence", default="", help="what the card says of it")


def run(args: argparse.Namespace) -> int:
    """Train, measure, write and print."""
    from napari_covseg.workflows.classify_train import classify_train
    from napari_covseg.workflows.classify_train_request import ClassifyTrainRequest

    fine_tune = _fine_tuning(args)
    chosen = args.classifier or "svm_poly"
    names = EIGHT if chosen == "all" else tuple(chosen.split(","))
    request = ClassifyTrainRequest(
        images=Path(args.images),
        output=Path(args.output),
        name=args.name,
        within=args.within,
        classifiers=names,
        features=args.features or "covseg",
        weights=Path(args.weights) if args.weights else None,
        whole=args.whole,
        held_out=args.held_out,
        folds=args.folds,
        runs=args.runs,
        pca=args.pca,
        seed=args.seed,
        positive=args.positive,
        keep=args.keep,
        clahe=args.clahe,
        cache=Path(args.cache) if args.cache else None,
        device=args.device,
        licence=args.licence,
        fine_tune=fine_tune,
    )
    result = run_stoppable(classify_train(request), _CANCELLED)
    for warning in result.warnings:
        complain(f"covseg: {warning}")
    if args.json:
        figures = [one.to_dict() for one in result.evaluations]
        print_json({"card": str(result.card), "chosen": result.chosen, "classifiers": figures})
    else:
        print(_table(result))
        print(f"Kept: {result.chosen}, in {result.card.parent}. Not for diagnosis.")
    return 0


def _table(result: ClassifyTrainResult) -> str:
    names = ("accuracy", "f1", "recall", "precision", "specificity", "auc")
    rows = [["Classifier", *names, "entropy"]]
    for one in result.evaluations:
        pairs = (one.spread(name) for name in names)
        cells = [f"{mean:.3f} ± {std:.3f}" for mean, std in pairs]
        rows.append([one.name, *cells, f"{one.unsure.mean():.2f}"])
    return aligned(rows)
