import numpy as np
import pytest
from PIL import Image

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.io.image_sets import check_classes, read_image_set


def _pictures(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(path, format="PNG")


def _labels(folder, text, name="labels.csv"):
    _pictures(folder, ["a.png", "b.png", "in/c.png"])
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "file,label,split,group\na.png,sick,train,p1\nb.png,well,val,\nin/c.png,sick,train,p1\n",
        "\ufeffFile; Label ;SPLIT;Group\na.png;sick;train;p1\nb.png;well;val;\n"
        "in/c.png;sick;train;p1\n",
    ],
)
def test_a_csv_gives_labels_splits_and_groups(tmp_path, text):
    file = _labels(tmp_path, text)
    for images in (read_image_set(file), read_image_set(tmp_path)):
        assert images.classes == ("sick", "well")
        assert images.codes.tolist() == [0, 1, 0]
        assert images.splits == ("train", "val", "train")
        assert images.groups == ("p1", "", "p1")
        assert [p.path.name for p in images] == ["a.png", "b.png", "c.png"]
        assert images.counts() == {"sick": 2, "well": 1}
        assert images.warnings == ()
        part = images.of_split("val")
        assert [(p.path.name, p.label) for p in part] == [("b.png", "well")]
        with pytest.raises(InputError, match="the labels name: train, val"):
            images.of_split("test")


def test_subfolders_are_classes(tmp_path):
    _pictures(tmp_path, ["sick/a.png", "sick/more/b.png", "well/a.png"])
    images = read_image_set(tmp_path)
    assert [(p.path.name, p.label) for p in images] == [
        ("a.png", "sick"),
        ("b.png", "sick"),
        ("a.png", "well"),
    ]
    _pictures(tmp_path, ["stray.png"])
    with pytest.raises(InputError, match=r"stray\.png: has no label"):
        read_image_set(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,sick\nb.png,\n", "line 3, b.png: has no label"),
        ("file,label\na.png,sick\na.png,well\n", "line 3, a.png: is listed as sick and as well"),
        ("file,label\na.png,sick\na.png,sick\n", "is listed twice"),
        ("file,label\nx.png,sick\ny.png,well\n", r"x\.png and 1 more: listed but not there"),
        ("name,label\na.png,sick\n", "no columns file and label"),
        ("file,label\n", "lists no picture"),
    ],
)
def test_wrong_labels_are_told_before_any_picture_is_read(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_image_set(_labels(tmp_path, text))


def test_pictures_without_a_row_are_counted(tmp_path):
    file = _labels(tmp_path, "file,label\nin/../a.png,sick\n")
    assert read_image_set(file).warnings == (
        "2 pictures have no label and are left out: not listed in labels.csv.",
    )


def test_a_csv_of_several_sets_is_read_in_part(tmp_path):
    file = _labels(tmp_path, "file,label\na.png,sick\nin/c.png,well\n")
    images = read_image_set(file, within="in/")
    assert images.names == ("in/c.png",)
    assert images.warnings == ()
    with pytest.raises(InputError, match="lists no picture"):
        read_image_set(file, within="out/")


def test_nothing_to_learn_is_told(tmp_path):
    _pictures(tmp_path, [f"sick/{i}.png" for i in range(5)])
    with pytest.raises(InputError, match="one class"):
        check_classes(read_image_set(tmp_path))
    _pictures(tmp_path, ["well/0.png", "well/1.png"])
    images = read_image_set(tmp_path)
    check_classes(images, folds=2)
    with pytest.raises(InputError, match="class 'well' has 2 pictures, fewer than 3 folds"):
        check_classes(images, folds=3)
    with pytest.raises(InputError, match="one class"):
        check_classes(images.subset([0, 1]))
    with pytest.raises(UsageError):
        check_classes(images, folds=0)


def test_groups_bound_the_folds(tmp_path):
    file = _labels(tmp_path, "file,label,group\na.png,sick,p\nb.png,well,q\nin/c.png,well,q\n")
    _pictures(tmp_path, ["d.png"])
    file.write_text(file.read_text() + "d.png,sick,r\n")
    with pytest.raises(InputError, match="class 'well' has pictures of 1 groups"):
        check_classes(read_image_set(file), folds=2)


def test_the_development_images(data_dir):
    images = read_image_set(data_dir / "images", within="covid_ct_images/")
    assert images.of_split("val").counts() == {"covid": 60, "noncovid": 58}
    assert images.of_split("train").counts() == {"covid": 191, "noncovid": 234}
