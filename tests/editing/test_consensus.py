"""Where two label maps differ, and what becomes of it by each rule."""

import numpy as np
import pytest

from napari_covseg.domain.labels import Label
from napari_covseg.editing.consensus import (
    JOINED,
    SMALLEST_ML,
    Comparison,
    Difference,
    Region,
    Rule,
    compare,
    join,
)

NONE, LEFT, RIGHT, GGO, CONS, INF, LUNG, IGNORE = Label
SHAPE = (8, 20, 30)
ML = 0.01


def lungs():
    """A right lung on the left of the picture, a left one on its right."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:18, 2:14], labels[:, 2:18, 16:28] = RIGHT, LEFT
    return labels


def both(*edits):
    """The two label maps after ``(reader, where, label)`` edits; reader 2 means both."""
    maps = [lungs(), lungs()]
    for reader, where, label in edits:
        for one in maps if reader == 2 else [maps[reader]]:
            one[where] = label
    return maps


def at(z, y, x):
    return (slice(*z), slice(*y), slice(*x))


def kinds(found: Comparison) -> list[Difference]:
    return [region.kind for region in found.regions]


def table(rule, first, second):
    return Label(int(JOINED[rule][first * 8 + second]))


def test_the_same_labels_differ_nowhere():
    first, _ = both((2, at((1, 3), (4, 8), (4, 8)), GGO))
    found = compare(first, first.copy(), ML)
    assert found.regions == ()
    for rule in Rule:
        assert np.array_equal(join(found, rule), first)


def test_a_lesion_of_one_reader_only():
    where = at((2, 5), (4, 8), (4, 9))
    first, second = both((0, where, GGO))
    found = compare(first, second, ML)
    voxels = 3 * 4 * 5
    (region,) = found.regions
    assert region == Region(
        number=0,
        kind=Difference.ONLY_FIRST,
        larger=None,
        first=(GGO,),
        second=(RIGHT,),
        voxels=voxels,
        ml=pytest.approx(voxels * ML),
        slice_index=2,
        centre=(2, 5, 6),
    )
    assert np.array_equal(join(found, Rule.FIRST), first)
    assert np.array_equal(join(found, Rule.SECOND), second)
    assert np.array_equal(join(found, Rule.UNION), first)
    assert np.array_equal(join(found, Rule.INTERSECTION), second)
    assert not np.array_equal(first, second)

    turned = compare(second, first, ML)
    assert kinds(turned) == [Difference.ONLY_SECOND]
    assert np.array_equal(join(turned, Rule.UNION), first)


def test_a_lesion_that_one_drew_larger_is_an_outline():
    core, more = at((2, 5), (4, 8), (4, 8)), at((2, 5), (4, 8), (8, 12))
    first, second = both((2, core, GGO), (1, more, GGO))
    (region,) = compare(first, second, ML).regions
    assert (region.kind, region.larger) == (Difference.OUTLINE, Rule.SECOND)
    assert region.voxels == 3 * 4 * 4
    assert region.slice_index == 2


def test_another_class_stays_open_unless_a_reader_is_chosen():
    where = at((2, 5), (4, 8), (4, 8))
    first, second = both((0, where, GGO), (1, where, CONS))
    found = compare(first, second, ML)
    (region,) = found.regions
    assert (region.kind, region.first, region.second) == (Difference.OTHER_CLASS, (GGO,), (CONS,))
    results = {rule: set(np.unique(join(found, rule)[where])) for rule in Rule}
    assert results == {
        Rule.FIRST: {GGO},
        Rule.SECOND: {CONS},
        Rule.UNION: {INF},
        Rule.INTERSECTION: {INF},
    }


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (IGNORE, GGO, GGO),
        (CONS, IGNORE, CONS),
        (IGNORE, NONE, NONE),
        (INF, GGO, GGO),
        (CONS, INF, CONS),
        (LUNG, LEFT, LEFT),
        (RIGHT, LUNG, RIGHT),
        (IGNORE, IGNORE, IGNORE),
    ],
)
def test_who_left_something_open_contradicts_nobody(first, second, result):
    for rule in Rule:
        assert table(rule, first, second) is result


@pytest.mark.parametrize(
    ("first", "second", "union", "intersection"),
    [
        (GGO, LEFT, GGO, LEFT),
        (NONE, CONS, CONS, NONE),
        (INF, RIGHT, INF, RIGHT),
        (GGO, LUNG, GGO, LUNG),
        (GGO, CONS, INF, INF),
        (LEFT, NONE, LEFT, NONE),
        (NONE, LUNG, LUNG, NONE),
        (LEFT, RIGHT, LUNG, LUNG),
    ],
)
def test_union_and_intersection_of_labels(first, second, union, intersection):
    for one, other in ((first, second), (second, first)):
        assert table(Rule.UNION, one, other) is union
        assert table(Rule.INTERSECTION, one, other) is intersection
    assert table(Rule.FIRST, first, second) is first
    assert table(Rule.SECOND, first, second) is second


def test_lungs_are_one_region_apart_from_lesions():
    first, second = both(
        (0, at((0, 8), (2, 4), (2, 14)), NONE), (1, at((3, 4), (6, 9), (4, 9)), GGO)
    )
    found = compare(first, second, ML)
    assert kinds(found) == [Difference.ONLY_SECOND, Difference.LUNGS]
    lesion, lung = found.regions
    assert (lung.number, lung.voxels) == (1, 8 * 2 * 12)
    assert (lung.first, lung.second) == ((NONE,), (RIGHT,))
    labels = join(found, Rule.SECOND, {lung.number: Rule.FIRST})
    assert (labels[:, 2:4, 2:14] == NONE).all()
    assert (labels == GGO).sum() == lesion.voxels
    labels = join(found, Rule.INTERSECTION, {lung.number: Rule.UNION})
    assert (labels[:, 2:4, 2:14] == RIGHT).all()
    assert not (labels == GGO).any()


def test_each_lesion_has_its_own_choice_the_largest_first():
    small, large = at((1, 2), (4, 8), (4, 8)), at((4, 7), (4, 9), (18, 24))
    first, second = both((0, small, GGO), (1, large, CONS))
    found = compare(first, second, ML)
    assert [(r.number, r.kind, r.voxels) for r in found.regions] == [
        (0, Difference.ONLY_SECOND, 90),
        (1, Difference.ONLY_FIRST, 16),
    ]
    labels = join(found, Rule.UNION, {0: Rule.FIRST})
    assert (labels[small] == GGO).all()
    assert (labels[large] == LEFT).all()
    labels = join(found, Rule.INTERSECTION, {0: Rule.SECOND})
    assert (labels[small] == RIGHT).all()
    assert (labels[large] == CONS).all()


def test_regions_that_touch_but_differ_otherwise_are_told_apart():
    where, further = at((2, 5), (4, 8), (4, 8)), at((2, 5), (4, 8), (8, 12))
    first, second = both((0, where, GGO), (1, where, CONS), (1, further, CONS))
    found = compare(first, second, ML)
    assert {(r.kind, r.larger, r.voxels) for r in found.regions} == {
        (Difference.OTHER_CLASS, None, 48),
        (Difference.OUTLINE, Rule.SECOND, 48),
    }


def test_small_regions_are_taken_together():
    least = round(SMALLEST_ML / ML)
    first, second = both(
        (0, at((1, 2), (4, 5), (4, 4 + least)), GGO),
        (0, at((3, 4), (4, 5), (4, 4 + least - 1)), GGO),
        (1, at((6, 7), (4, 5), (4, 5)), CONS),
    )
    found = compare(first, second, ML)
    assert kinds(found) == [Difference.ONLY_FIRST, Difference.SMALL]
    assert found.regions[0].voxels == least
    assert found.regions[1].voxels == least
    labels = join(found, Rule.FIRST, {1: Rule.UNION})
    assert (labels == CONS).sum() == 1
    assert (labels == GGO).sum() == 2 * least - 1


def test_a_label_of_less_than_a_tenth_is_not_named():
    where = at((2, 4), (4, 8), (4, 9))
    first, second = both((0, where, GGO), (0, at((2, 3), (4, 5), (4, 8)), CONS))
    (region,) = compare(first, second, ML).regions
    assert region.first == (GGO, CONS)  # 4 of 40
    first[2, 4, 4] = GGO
    (region,) = compare(first, second, ML).regions
    assert region.first == (GGO,)  # 3 of 40


def test_on_a_slice_that_one_reader_checked_his_labels_stand():
    first, second = both(
        (0, at((1, 2), (4, 8), (4, 8)), GGO),
        (1, at((4, 5), (4, 8), (4, 8)), CONS),
        (0, at((6, 7), (4, 8), (4, 8)), GGO),
    )
    found = compare(first, second, ML, ({0, 1, 6}, {4, 6}))
    assert (found.first_alone, found.second_alone) == ((0, 1), (4,))
    assert found.reviewed == {0, 1, 4, 6}
    (region,) = found.regions
    assert (region.kind, region.slice_index) == (Difference.ONLY_FIRST, 6)
    for rule in Rule:
        labels = join(found, rule)
        assert (labels[1] == GGO).sum() == 16
        assert (labels[4] == CONS).sum() == 16
    assert not (join(found, Rule.INTERSECTION)[6] == GGO).any()


def test_a_reader_without_marks_has_an_opinion_everywhere():
    first, second = both((0, at((1, 2), (4, 8), (4, 8)), GGO))
    found = compare(first, second, ML, ({1, 2}, ()))
    assert kinds(found) == [Difference.ONLY_FIRST]
    assert found.reviewed == {1, 2}
    assert (found.first_alone, found.second_alone) == ((), ())


def test_the_centre_lies_in_the_region():
    first, second = both(
        (0, at((2, 3), (4, 12), (4, 12)), GGO), (0, at((2, 3), (6, 10), (6, 10)), RIGHT)
    )
    (region,) = compare(first, second, ML).regions
    assert first[region.centre] == GGO


def test_labels_of_other_shape_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        compare(lungs(), lungs()[1:], ML)


def test_joining_leaves_the_comparison_as_it_was():
    first, second = both((0, at((2, 3), (4, 8), (4, 8)), GGO))
    found = compare(first, second, ML)
    before = found.agreed.copy()
    join(found, Rule.SECOND)
    assert np.array_equal(found.agreed, before)
