"""``covseg classify-train``: train classifiers of pictures and measure them on held-out ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import aligned, complain, print_json

if TYPE_CHECKING:
    from napari_covseg.workflows.classify_train import ClassifyTrainResult

EIGHT = (
    *("knn", "svm_poly", "svm_rbf", "random_forest"),
    *("neural_network", "adaboost", "naive_bayes", "xgboost"),
)


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "classify-train",
        help="train and measure classifiers of pictures on a frozen network's features",
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
        default="svm_poly",
        metavar="NAME[,NAME...]",
        help=f"all, or some of {', '.join(EIGHT)}; of several the one with the least log loss out "
        "of bag is kept (default svm_poly)",
    )
    parser.add_argument("--name", default="classifier", help="of the classifier")
    _add_network(parser)
    _add_measuring(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.set_defaults(func=run)


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features",
        default="covseg",
        choices=("covseg", "resnet50", "inception_resnet_v2"),
        help="the frozen network (default covseg, the shipped one)",
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
    from napari_covseg.workflows.classify_train import ClassifyTrainRequest, classify_train

    names = EIGHT if args.classifier == "all" else tuple(args.classifier.split(","))
    request = ClassifyTrainRequest(
        images=Path(args.images),
        output=Path(args.output),
        name=args.name,
        within=args.within,
        classifiers=names,
        features=args.features,
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
    )
    result = run_stoppable(classify_train(request), "cancelled: features in --cache are kept")
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
