import contextlib
import io

import numpy as np
import pytest

from napari_covseg.metrics.detection import (
    DetectionScores,
    Found,
    Truth,
    box_overlaps,
    mask_overlaps,
    mean_precision,
)

SIZE = (48, 64)


def mask_at(box):
    x0, y0, x1, y1 = (int(v) for v in box)
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def random_boxes(rng, count):
    x, y = rng.integers(0, SIZE[1] - 20, count), rng.integers(0, SIZE[0] - 20, count)
    return np.stack([x, y, x + rng.integers(4, 20, count), y + rng.integers(4, 20, count)], 1)


def picture(rng, ignored_share=0.5):
    there = random_boxes(rng, rng.integers(0, 6))
    moved = there + rng.integers(-2, 3, there.shape)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 2)
    moved = np.clip(moved, 0, [SIZE[1], SIZE[0]] * 2)
    boxes = np.concatenate([moved, random_boxes(rng, rng.integers(0, 6))])
    labels = np.concatenate([rng.integers(1, 3, len(there)), np.zeros(0)]).astype(int)
    found_labels = np.concatenate([labels, rng.integers(1, 3, len(boxes) - len(labels))])
    ignored = np.zeros(SIZE, bool)
    if rng.random() < ignored_share:
        ignored = mask_at(random_boxes(rng, 1)[0])
    masks = [mask_at(b) & (rng.random(SIZE) < 0.95) for b in boxes]
    found = Found(boxes, found_labels, rng.random(len(boxes)), as_masks(masks))
    return found, Truth(there, labels, as_masks([mask_at(b) for b in there]), ignored)


def as_masks(masks):
    return np.stack(masks) if len(masks) else np.zeros((0, *SIZE), bool)


def reference(pictures, overlap):
    """What pycocotools says: class -> (ap, ap50, ap75)."""
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask as coder
    from pycocotools.cocoeval import COCOeval

    def encoded(mask):
        return coder.encode(np.asfortranarray(mask.astype(np.uint8)))

    def corner(box):
        x0, y0, x1, y1 = (float(v) for v in box)
        return [x0, y0, x1 - x0, y1 - y0]

    annotations, detections = [], []

    def annotate(image, label, box, mask, crowd):
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": int(label),
                "bbox": corner(box),
                "segmentation": encoded(mask),
                "area": float(mask.sum()),
                "iscrowd": crowd,
            }
        )

    for number, (found, truth) in enumerate(pictures, 1):
        for box, label, mask in zip(truth.boxes, truth.labels, truth.masks, strict=True):
            annotate(number, label, box, mask, 0)
        if truth.ignored.any():
            y, x = np.nonzero(truth.ignored)
            for label in (1, 2):
                box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
                annotate(number, label, box, truth.ignored, 1)
        rows = zip(found.boxes, found.labels, found.scores, found.masks, strict=True)
        for box, label, score, mask in rows:
            one = {"image_id": number, "category_id": int(label), "score": float(score)}
            shown = {"bbox": corner(box)} if overlap == "box" else {"segmentation": encoded(mask)}
            detections.append(one | shown)
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco_module.COCO()
        data.dataset = {
            "info": {},
            "images": [
                {"id": n + 1, "height": SIZE[0], "width": SIZE[1]} for n in range(len(pictures))
            ],
            "categories": [{"id": 1}, {"id": 2}],
            "annotations": annotations,
        }
        data.createIndex()
        kind = "bbox" if overlap == "box" else "segm"
        evaluation = COCOeval(data, data.loadRes(detections), kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]  # thresholds, recalls, classes
    return {
        label: (
            precision[:, :, label - 1].mean(),
            precision[0, :, label - 1].mean(),
            precision[5, :, label - 1].mean(),
        )
        for label in (1, 2)
    }


@pytest.mark.parametrize("overlap", ["mask", "box"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(overlap, seed):
    rng = np.random.default_rng(seed)
    pictures = [picture(rng) for _ in range(12)]
    scores = DetectionScores((1, 2), overlap)
    for one in pictures:
        scores.add(*one)
    expected = reference(pictures, overlap)
    for label, ours in scores.result().items():
        assert (ours.ap, ours.ap50, ours.ap75) == pytest.approx(expected[label], abs=1e-9)


def one_lesion(score=0.9, moved=0, ignored=None):
    there = np.array([[10, 10, 20, 20]])
    boxes = there + moved
    found = Found(boxes, np.array([1]), np.array([score]), as_masks([mask_at(boxes[0])]))
    nothing = np.zeros(SIZE, bool) if ignored is None else ignored
    return found, Truth(there, np.array([1]), as_masks([mask_at(there[0])]), nothing)


def test_a_perfect_detection_gives_one_and_a_missed_class_nothing():
    scores = DetectionScores((1, 2))
    scores.add(*one_lesion())
    result = scores.result()
    assert (result[1].ap, result[1].ap50, result[1].recall) == pytest.approx((1, 1, 1))
    assert result[2].ap is None
    assert mean_precision(result).ap == pytest.approx(1)


def test_overlap_decides_at_which_threshold_a_detection_counts():
    scores = DetectionScores((1,))
    scores.add(*one_lesion(moved=1))  # 81 of 119 pixels: 0.68
    result = scores.result()[1]
    assert result.ap50 == pytest.approx(1)
    assert result.ap75 == 0
    assert result.ap == pytest.approx(0.4)


def test_a_second_detection_of_a_lesion_is_wrong():
    found, truth = one_lesion()
    twice = Found(
        np.repeat(found.boxes, 2, 0),
        np.array([1, 1]),
        np.array([0.9, 0.8]),
        np.repeat(found.masks, 2, 0),
    )
    other = one_lesion(score=0.7)
    scores = DetectionScores((1,))
    scores.add(twice, truth)
    scores.add(*other)
    # Half of the lesions at precision 1, the other half at 2 of 3.
    assert scores.result()[1].ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_detection_where_nobody_knows_is_not_wrong():
    place = mask_at((30, 10, 40, 20))
    found, truth = one_lesion(score=0.5)
    both = Found(
        np.concatenate([found.boxes, [[30, 10, 40, 20]]]),
        np.array([1, 1]),
        np.array([0.5, 0.9]),
        np.concatenate([found.masks, place[None]]),
    )
    for ignored, expected in ((place, 1.0), (np.zeros(SIZE, bool), 0.5)):
        scores = DetectionScores((1,))
        scores.add(both, Truth(truth.boxes, truth.labels, truth.masks, ignored))
        assert scores.result()[1].ap50 == pytest.approx(expected)


def test_pictures_can_be_chosen_and_repeated():
    scores = DetectionScores((1,))
    scores.add(*one_lesion())
    scores.add(*one_lesion(moved=9))
    assert scores.result([0])[1].ap == pytest.approx(1)
    assert scores.result([1])[1].ap == 0
    assert scores.result([0, 0, 1])[1].lesions == 3


def test_overlaps_of_boxes_and_masks_agree_on_rectangles():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 5), random_boxes(rng, 7)
    masks = [as_masks([mask_at(box) for box in boxes]) for boxes in (a, b)]
    overlaps = box_overlaps(a, b)
    assert overlaps.max() > 0
    np.testing.assert_allclose(overlaps, mask_overlaps(*masks), atol=1e-12)
