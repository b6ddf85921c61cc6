from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trees import dataset_of_channels, labels, lay_out

from byoc_vision.data.formats import read_folder
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo

IMAGES = ("train/1.jpg", "train/2.jpg", "train/in/3.jpg", "train/in/4.jpg")


def table(root: Path, *rows: str, name: str = "train/labels.csv", images: tuple[str, ...] = IMAGES) -> Path:
    return lay_out(root, images, {name: "\r\n".join(rows)})


def found(root: Path, **options: object) -> dict[str, int | tuple[int, ...] | None]:
    dataset = dataset_of_channels(root, **options)
    return labels(dataset.train) | labels(dataset.validation)


@pytest.mark.parametrize(
    "rows",
    [
        ("image,label", "1.jpg,cat", "2.jpg,dog", "in/3.jpg,cat", "in/4.jpg,dog"),
        ("\ufeffFile Name;Breed", "./1.jpg;cat", "2.jpg;dog", "s3://bucket/in/3.jpg;cat", "in\\4.jpg;dog"),
        ("id\tanything", "1\tcat", "2\tdog", "3\tcat", "in/4\tdog"),
        ("1.jpg,cat", "2.jpg,dog", "in/3.jpg,cat", "", "in/4.jpg,dog"),
        ('"width","image_path","class"', '9,"1.jpg","cat"', '9,"2.jpg","dog"', '9,"3.jpg","cat"', '9,"4.jpg","dog"'),
        ("image,cat,dog", "1.jpg,1,0", "2.jpg,0,1", "3.jpg,1.0,0.0", "4.jpg,0,1"),
    ],
)
def test_tables_as_they_come(tmp_path: Path, rows: tuple[str, ...]) -> None:
    root = table(tmp_path, *rows)
    assert found(root) == {"1.jpg": 0, "2.jpg": 1, "3.jpg": 0, "4.jpg": 1}
    assert dataset_of_channels(root).class_names == ("cat", "dog")
    assert not dataset_of_channels(root).multi_label


@pytest.mark.parametrize(
    "rows",
    [
        ("image,labels", "1.jpg,sea|sky", "2.jpg,sky", "3.jpg,land", "4.jpg,sea | sky"),
        ("image,tags", "1.jpg,sea sky", "2.jpg,sky", "3.jpg,land", "4.jpg,sky sea"),
        ("image,land,sea,sky", "1.jpg,0,1,1", "2.jpg,0,0,1", "3.jpg,1,0,0", "4.jpg,0,1,1"),
    ],
)
def test_several_labels(tmp_path: Path, rows: tuple[str, ...]) -> None:
    root = table(tmp_path, *rows)
    assert found(root) == {"1.jpg": (1, 2), "2.jpg": (2,), "3.jpg": (0,), "4.jpg": (1, 2)}
    assert dataset_of_channels(root).class_names == ("land", "sea", "sky")


def test_rare_classes_may_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = tuple(f"train/{number}.jpg" for number in range(5))
    rows = ("image,label", "0,rare", "1,a", "2,b", "3,a", "4,b")
    root = table(tmp_path, *rows, images=images)
    assert dataset_of_channels(root).class_names == ("a", "b", "rare")
    dataset = dataset_of_channels(root, min_class_count=2)
    assert dataset.class_names == ("a", "b")
    assert len(dataset.train) + len(dataset.validation) == 4
    assert "rare (1)" in caplog.text


def test_names_with_blanks_are_names(tmp_path: Path) -> None:
    rows = ("image,labels", "1.jpg,bald eagle", "2.jpg,barn owl", "3.jpg,bald eagle", "4.jpg,barn owl")
    root = table(tmp_path, *rows)
    assert dataset_of_channels(root).class_names == ("bald eagle", "barn owl")
    assert dataset_of_channels(root, multi_label=True).class_names == ("bald", "barn", "eagle", "owl")


def test_columns_of_flags_with_several_are_refused_where_one_is_wanted(tmp_path: Path) -> None:
    root = table(tmp_path, "image,a,b", "1.jpg,1,1", "2.jpg,0,1")
    with pytest.raises(DataError, match=r"(?s)multi_label is False.*labels\.csv, line 2: 2 labels"):
        dataset_of_channels(root, multi_label=False)


def test_kaggles_dog_breeds(tmp_path: Path) -> None:
    """labels.csv lies above the folders of the splits, and those of `test` have no labels."""
    images = (*(f"train/train/{number:04x}.jpg" for number in range(10)), "train/test/ffff.jpg")
    rows = ("id,breed", *(f"{number:04x},{('pug', 'boxer')[number % 2]}" for number in range(10)))
    root = table(tmp_path, *rows, images=images)
    lay_out(root, (), {"train/sample_submission.csv": "id,boxer,pug\nffff,0.5,0.5\n"})
    dataset = dataset_of_channels(root)
    assert dataset.class_names == ("boxer", "pug")
    assert [len(samples) for samples in dataset.splits.values()] == [8, 2]


def test_columns_for_split_and_group(tmp_path: Path) -> None:
    rows = ("image,label,Data Set,group", "1,a,train,x", "2,b,training,x", "3,a,valid,y", "4,b,TEST,")
    dataset = dataset_of_channels(table(tmp_path, *rows))
    assert [labels(samples) for samples in dataset.splits.values()] == [
        {"1.jpg": 0, "2.jpg": 1},
        {"3.jpg": 0},
        {"4.jpg": 1},
    ]
    assert [sample.group for samples in dataset.splits.values() for sample in samples] == ["x", "x", "y", None]
    lay_out(tmp_path, (), {"train/labels.csv": "\n".join([*rows, "1.jpg,a,later,"])})
    with pytest.raises(DataError, match=r"line 6: 'later' in the column 'Data Set' is not train, validation or test"):
        dataset_of_channels(tmp_path)


def test_a_file_for_each_split(tmp_path: Path) -> None:
    root = table(tmp_path, "image,label", "1,a", "2,b", name="train/train.csv")
    table(root, "image,label", "3,a", name="train/validation.csv")
    table(root, "image,label", "4,b", name="train/my_test.csv")
    assert [len(samples) for samples in dataset_of_channels(root).splits.values()] == [2, 1, 1]


def test_masks(tmp_path: Path) -> None:
    masks = tuple(f"train/masks/{number}.png" for number in range(1, 5))
    rows = ("image,mask", *(f"{number}.jpg,masks/{number}.png" for number in range(1, 5)))
    dataset = dataset_of_channels(table(tmp_path, *rows, images=IMAGES + masks))
    assert (dataset.task, dataset.classes) == ("segmentation", ())
    assert all(s.mask and s.mask.name == f"{Path(s.image.name).stem}.png" for s in dataset.train)
    assert len(dataset.train) == 3
    table(tmp_path, "image,mask", "1.jpg,masks/1.png", "2.jpg,masks/9.png", "3.jpg,")
    with pytest.raises(DataError, match=r"(?s)line 3: there is no image 'masks/9\.png'.*line 4: there is no image ''"):
        dataset_of_channels(tmp_path)


def test_every_wrong_row_is_named(tmp_path: Path) -> None:
    lay_out(tmp_path, ("train/other/3.jpg",), {})
    rows = ("image,label", "1.jpg,a", "2.jpg", "9.jpg,b", "2.jpg,", "3.jpg,b", "2.jpg,b,c", "2.jpg,b")
    root = table(tmp_path, *rows)
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    text = str(raised.value)
    place = f"{root}/train/labels.csv, line"
    assert f"{place} 3: there are 1 cells instead of 2" in text
    assert f"{place} 4: there is no image '9.jpg' in {root}/train; add it or remove the line" in text
    assert f"{place} 5: the column 'label' is empty; add a label or remove the line" in text
    assert f"{place} 6: '3.jpg' may be in/3.jpg or other/3.jpg in {root}/train; add the folder" in text
    assert f"{place} 7: there are 3 cells instead of 2" in text
    assert all(f"{place} {right}:" not in text for right in (2, 8))


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "N/A", "null"])
@pytest.mark.parametrize("column", ["label", "labels"])
def test_rows_without_a_label_are_named(tmp_path: Path, missing: str, column: str) -> None:
    rows = (f"image,{column}", "1.jpg,cat", f"2.jpg,{missing}", "in/3.jpg,dog", f"in/4.jpg,{missing}")
    root = table(tmp_path, *rows)
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    for line in (3, 5):
        assert f"labels.csv, line {line}: " in str(raised.value)
    assert "add a label or remove the line" in str(raised.value)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"several classes have the name 'a' \(.*labels\.csv, line 2"):
        dataset_of_channels(table(tmp_path, "image,a,a", "1.jpg,1,0", "2.jpg,0,1"))


def test_values_that_are_not_flags(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv, line 3: the label 'yes' is not the number of a class"):
        dataset_of_channels(table(tmp_path, "image,a,b", "1.jpg,1,0", "2.jpg,yes,0"))


def test_a_table_that_is_not_text_or_has_no_end(tmp_path: Path) -> None:
    root = table(tmp_path, "image,label")
    (root / "train/labels.csv").write_bytes("image,label\n1.jpg,caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv is not UTF-8 text .*; save it as UTF-8"):
        dataset_of_channels(root)
    (root / "train/labels.csv").write_text("image,label\n1.jpg," + "x" * 200_000)
    with pytest.raises(DataError, match=r"labels\.csv, line 2: not a CSV file \(field larger than field limit"):
        dataset_of_channels(root)


def test_other_tables_leave_other_layouts_alone(tmp_path: Path) -> None:
    folders = lay_out(
        tmp_path / "f", ("train/a/1.jpg", "train/b/2.jpg", "train/b/3.jpg"), {"train/x.csv": "id,w,h\n1,2,3"}
    )
    assert dataset_of_channels(folders).class_names == ("a", "b")
    masks = lay_out(
        tmp_path / "m",
        tuple(f"train/{folder}/{number}.png" for folder in ("images", "masks") for number in (1, 2)),
        {"train/sizes.csv": "image,width\n1.png,7\n"},
    )
    assert dataset_of_channels(masks).task == "segmentation"


def test_a_model_is_measured_by_its_own_classes(tmp_path: Path) -> None:
    root = table(tmp_path, "image,label", "1,pug", "2,boxer")
    classes = [ClassInfo("pug"), ClassInfo("boxer"), ClassInfo("beagle")]
    assert labels(read_folder(root / "train", "classification", classes)) == {"1.jpg": 0, "2.jpg": 1}


CELLS = st.sampled_from(
    ["image", "label", "mask", "split", "1.jpg", "2.jpg", "a", "0", "1", "|", '"', ",", "\n", "\r", ";"]
)


@settings(deadline=None)
@given(text=st.lists(CELLS, max_size=16).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("csv")
    lay_out(root, ("train/1.jpg", "train/2.jpg"), {})
    (root / "train/labels.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(DataError, InputError):
        dataset_of_channels(root)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4))
def test_any_rows_are_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    root = table(tmp_path_factory.mktemp("csv"), "image,label,mask", *map(",".join, rows))
    with suppress(DataError, InputError):
        dataset_of_channels(root)


HAM = ("lesion_id,image_id,dx,dx_type,age,sex", "L0,1,nv,histo,50,male", "L0,2,mel,histo,60,male",
       "L1,3,nv,histo,50,female", "L2,4,mel,histo,40,male")  # fmt: skip


@pytest.mark.parametrize("chosen", ["dx", "DX", " dx "])
def test_the_user_chooses_the_column_of_labels(tmp_path: Path, chosen: str) -> None:
    root = table(tmp_path, *HAM)
    assert found(root, label_column=chosen.strip()) == {"1.jpg": 1, "2.jpg": 0, "3.jpg": 1, "4.jpg": 0}
    assert dataset_of_channels(root, label_column="dx").class_names == ("mel", "nv")


def test_a_table_with_several_possible_columns_names_them(tmp_path: Path) -> None:
    root = table(tmp_path, *HAM)
    with pytest.raises(InputError) as raised:
        dataset_of_channels(root)
    text = str(raised.value)
    assert f"{root}/train/labels.csv: which column holds the labels is not clear" in text
    assert "dx (nv, mel), age (50, 60, 40), sex (male, female); choose with label_column" in text
    assert "dx_type" not in text, "it has one value"


def test_a_column_that_no_table_has_is_named_with_all_columns(tmp_path: Path) -> None:
    root = table(tmp_path, *HAM)
    with pytest.raises(InputError, match=r"label_column=dy, but no table has this column; .*: lesion_id, image_id,"):
        dataset_of_channels(root, label_column="dy")
    with pytest.raises(InputError, match="image_column=foto, but no table has this column"):
        dataset_of_channels(root, image_column="foto")
    with pytest.raises(InputError, match="label_attribute=job is for data_layout=manifest, but the data are images"):
        dataset_of_channels(root, label_column="dx", label_attribute="job")


def test_the_column_of_images_is_the_one_whose_values_name_images(tmp_path: Path) -> None:
    rows = ("id,slide,finding,label", "77,1,x,a", "78,2,x,b", "79,3,y,a", "80,4,y,b")
    assert found(table(tmp_path / "found", *rows)) == {"1.jpg": 0, "2.jpg": 1, "3.jpg": 0, "4.jpg": 1}
    rows = ("one,two,label", "1,2,a", "2,1,b", "3,4,a", "4,3,b")
    root = table(tmp_path / "chosen", *rows)
    assert found(root, image_column="two") == {"2.jpg": 0, "1.jpg": 1, "4.jpg": 0, "3.jpg": 1}


def test_nih_lists_of_findings(tmp_path: Path) -> None:
    """Images in several folders, a few findings each, beside a table of boxes that has other columns."""
    images = ("train/images_001/1.png", "train/images_001/2.png", "train/images_002/3.png", "train/images_002/4.png")
    rows = ("Image Index,Finding Labels,Follow-up #,Patient ID", "1.png,Mass|Edema,0,1", "2.png,No Finding,1,1",
            "3.png,Edema,0,2", "4.png,Mass,0,3")  # fmt: skip
    root = table(tmp_path, *rows, images=images, name="train/Data_Entry_2017.csv")
    dataset = dataset_of_channels(root)
    assert dataset.class_names == ("Edema", "Mass", "No Finding")
    assert found(root) == {"1.png": (0, 1), "2.png": (2,), "3.png": (0,), "4.png": (1,)}
    assert {sample.group for sample in (*dataset.train, *dataset.validation)} == {"1", "2", "3"}


def test_wrong_rows_of_all_tables_are_named_at_once(tmp_path: Path) -> None:
    root = table(tmp_path, "image,label", "1,a", "nowhere,b", name="train/first.csv")
    table(root, "image,label", "3,a", "4,", name="train/second.csv")
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    assert "first.csv, line 3: there is no image 'nowhere'" in str(raised.value)
    assert "second.csv, line 3: the column 'label' is empty" in str(raised.value)


def test_measured_numbers_are_not_classes(tmp_path: Path) -> None:
    images = tuple(f"train/{number}.jpg" for number in range(12))
    root = table(tmp_path, "image,age", *(f"{number},{20 + 1.5 * number}" for number in range(12)), images=images)
    with pytest.raises(DataError, match=r"labels are measured numbers, such as .* \(12 different ones\), not classes"):
        dataset_of_channels(root)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("phase", ["train", "train", "train", "train", "testing", "testing"]),
        ("Usage", ["Training", "Training", "Training", "Training", "PrivateTest", "PrivateTest"]),
        ("is_train", ["1", "1", "1", "1", "0", "0"]),
        ("is_test", ["False", "False", "False", "False", "True", "True"]),
    ],
)
@pytest.mark.parametrize("chosen", [None, "label"])
def test_columns_that_hold_splits_are_splits(
    tmp_path: Path, column: str, values: list[str], chosen: str | None
) -> None:
    rows = [f"{number},{'ab'[number % 2]},{value}" for number, value in enumerate(values, start=1)]
    images = tuple(f"train/{number}.jpg" for number in range(1, 7))
    dataset = dataset_of_channels(table(tmp_path, f"image,label,{column}", *rows, images=images), label_column=chosen)
    assert dataset.class_names == ("a", "b")
    assert [sample.image.name for sample in dataset.test] == ["5.jpg", "6.jpg"]


def test_a_table_above_the_folder_of_splits(tmp_path: Path) -> None:
    images = (
        "train/images/train/1.jpg",
        "train/images/train/2.jpg",
        "train/images/val/3.jpg",
        "train/images/val/4.jpg",
    )
    rows = ("image,label", "train/1.jpg,a", "train/2.jpg,b", "val/3.jpg,a", "val/4.jpg,b")
    dataset = dataset_of_channels(table(tmp_path, *rows, images=images))
    assert [sample.image.name for sample in dataset.validation] == ["3.jpg", "4.jpg"]


class TestNihsListsOfSplits:
    IMAGES = tuple(f"train/images_00{number}/images/{number}.png" for number in range(1, 6))
    TABLE = (
        "Image Index,Finding Labels,Patient ID\n1.png,Mass|Edema,1\n2.png,No Finding,2\n3.png,Mass,3\n4.png,Edema,4\n"
    )

    def test_they_give_the_test_split(self, tmp_path: Path) -> None:
        """The lists are of the whole data set: images that are not here do not count."""
        lists = {
            "train/Data_Entry_2017.csv": self.TABLE,
            "train/train_val_list.txt": "1.png\n2.png\n00000009_000.png\n",
            "train/test_list.txt": "3.png\n4.png\n",
        }
        dataset = dataset_of_channels(lay_out(tmp_path, self.IMAGES, lists))
        assert dataset.class_names == ("Edema", "Mass", "No Finding")
        assert {sample.image.name for sample in dataset.train + dataset.validation} == {"1.png", "2.png"}
        assert [sample.image.name for sample in dataset.test] == ["3.png", "4.png"]

    def test_images_in_no_list_are_counted(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        lists = {"train/labels.csv": self.TABLE, "train/test_list.txt": "3.png\n"}
        assert [len(held) for held in dataset_of_channels(lay_out(tmp_path, self.IMAGES, lists)).splits.values()][
            2
        ] == 1
        assert "that no list of a split names, which are training images: 3, such as 1.png" in caplog.text

    def test_an_image_in_two_lists_is_named(self, tmp_path: Path) -> None:
        lists = {
            "train/labels.csv": self.TABLE,
            "train/train_val_list.txt": "1.png\n2.png\n3.png\n",
            "train/test_list.txt": "4.png\n3.png\n",
        }
        with pytest.raises(DataError, match=r"3\.png is also in a list of (train|test) images"):
            dataset_of_channels(lay_out(tmp_path, self.IMAGES, lists))


def test_celebas_attributes_of_minus_one_and_one(tmp_path: Path) -> None:
    """The other tables of the data set do not disturb; `partition` numbers the splits."""
    images = tuple(f"train/img_align_celeba/00000{number}.jpg" for number in range(1, 5))
    lists = {
        "train/list_attr_celeba.csv": "image_id,Bald,Smiling\n000001.jpg,-1,1\n000002.jpg,1,1\n000003.jpg,-1,-1\n"
        "000004.jpg,1,-1\n",
        "train/list_bbox_celeba.csv": "image_id,x_1,y_1,width\n000001.jpg,9,8,20\n000002.jpg,7,8,30\n",
        "train/list_eval_partition.csv": "image_id,partition\n000001.jpg,0\n000002.jpg,0\n000003.jpg,1\n000004.jpg,2\n",
    }
    root = lay_out(tmp_path, images, lists)
    dataset = dataset_of_channels(root)
    assert dataset.class_names == ("Bald", "Smiling")
    assert labels(dataset.train) == {"000001.jpg": (1,), "000002.jpg": (0, 1)}
    assert labels(dataset.validation) == {"000003.jpg": ()}
    assert labels(dataset.test) == {"000004.jpg": (0,)}
    assert set(dataset_of_channels(root, label_column="Smiling").class_names) == {"-1", "1"}


def test_one_hot_columns_beside_others(tmp_path: Path) -> None:
    rows = ("image,age,nv,mel,site", "1,50,1,0,back", "2,60,0,1,arm", "3,50,1.0,0.0,arm", "4,40,False,True,back")
    root = table(tmp_path, *rows)
    assert found(root) == {"1.jpg": 0, "2.jpg": 1, "3.jpg": 0, "4.jpg": 1}
    assert dataset_of_channels(root).class_names == ("nv", "mel")
    assert dataset_of_channels(root, label_column="mel, nv").class_names == ("mel", "nv")


def test_tables_of_one_kind_are_read_together(tmp_path: Path) -> None:
    root = table(tmp_path, "image,label", "1,a", "2,b", name="train/first.csv")
    table(root, "image,label", "3,a", "4,b", name="train/second.csv")
    assert found(root) == {"1.jpg": 0, "2.jpg": 1, "3.jpg": 0, "4.jpg": 1}


def test_tables_that_disagree_are_named(tmp_path: Path) -> None:
    root = table(tmp_path, "image,label", "1,a", "2,b", name="train/first.csv")
    table(root, "image,breed", "1,c", "2,d", "3,c", "4,d", name="train/second.csv")
    with pytest.raises(InputError, match=r"first\.csv and .*second\.csv both list labels of .*: label and breed;"):
        dataset_of_channels(root)
    assert dataset_of_channels(root, label_column="breed").class_names == ("c", "d")


def test_masks_by_a_chosen_column(tmp_path: Path) -> None:
    masks = tuple(f"train/masks/{number}.png" for number in range(1, 5))
    rows = ("photo,painted", *(f"{number}.jpg,masks/{number}.png" for number in range(1, 5)))
    dataset = dataset_of_channels(table(tmp_path, *rows, images=IMAGES + masks), label_column="painted")
    assert dataset.task == "segmentation"
