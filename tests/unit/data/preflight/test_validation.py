from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.preflight.scan import MaskValues
from byoc_vision.data.preflight.validation import find_unknown_values, infer_classes, unknown_values_headline
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo

Values = tuple[int, ...]


def seen(*train: Values, validation: tuple[Values, ...] = ()) -> MaskValues:
    """Masks that hold these values."""
    values = MaskValues()
    for split, masks in (("train", train), ("validation", validation)):
        for index, held in enumerate(masks):
            values.add(split, Path(f"{split}_{index}.png"), held)
    return values


def inferred(
    *train: Values,
    validation: tuple[Values, ...] = (),
    num_classes: int | None = None,
    ignore_index: int | None = None,
) -> tuple[list[tuple[str, int | None]], int | None]:
    options = DataOptions(num_classes=num_classes, ignore_index=ignore_index)
    values = seen(*train, validation=validation)
    classes, ignore_value = infer_classes(values, options)
    assert not find_unknown_values(values, classes, ignore_value)
    return [(entry.name, entry.value) for entry in classes], ignore_value


def complaint(
    *train: Values, validation: tuple[Values, ...] = (), num_classes: int | None = None
) -> tuple[str, list[str]]:
    """What is said of masks with other values: the headline, and a line for each mask."""
    options = DataOptions(num_classes=num_classes)
    values = seen(*train, validation=validation)
    classes, ignore_value = infer_classes(values, options)
    unknown_values = find_unknown_values(values, classes, ignore_value)
    return unknown_values_headline(classes, ignore_value, options, inferred=True), [
        str(mask) for mask in unknown_values
    ]


BINARY_1 = [("background", 0), ("foreground", 1)]
BINARY_255 = [("background", 0), ("foreground", 255)]
THREE = [("class_0", 0), ("class_1", 1), ("class_2", 2)]


class TestInferred:
    def test_two_values_are_background_and_foreground(self) -> None:
        assert inferred((0, 1), (0,)) == (BINARY_1, 255)
        assert inferred((0, 7), (7,)) == ([("background", 0), ("foreground", 7)], 255)

    def test_255_is_a_class_where_there_is_just_one_other(self) -> None:
        assert inferred((0, 255), (0,)) == (BINARY_255, None)
        assert inferred((1, 255)) == ([("class_1", 1), ("class_255", 255)], None)

    def test_255_is_ignored_beside_two_others(self) -> None:
        assert inferred((0, 1, 255)) == (BINARY_1, 255)
        assert inferred((0, 1, 2, 255)) == (THREE, 255)
        assert inferred((0, 1), validation=((0, 1, 255),)) == (BINARY_1, 255)

    @pytest.mark.parametrize("levels", [(0, 128, 255), (0, 85, 170, 255), (64, 128, 255), (0, 10, 20, 255)])
    def test_255_is_a_class_beside_grey_levels(self, levels: Values) -> None:
        expected = [(f"class_{value}", value) for value in levels]
        assert inferred(levels) == (expected, None)
        assert inferred(levels, num_classes=len(levels)) == (expected, None)

    @pytest.mark.parametrize("labels", [(0, 1, 2, 3), (1, 2, 3), (0, 1, 15), (0, 2, 3), (0, 7, 15)])
    def test_255_is_ignored_beside_numbers_of_classes(self, labels: Values) -> None:
        """Not every class need be there: rare ones may be missing from the masks read before training."""
        assert inferred((*labels, 255)) == ([(f"class_{value}", value) for value in labels], 255)

    def test_names_tell_the_values(self) -> None:
        assert inferred((4,), (2, 9)) == ([("class_2", 2), ("class_4", 4), ("class_9", 9)], 255)
        assert inferred((1, 2)) == ([("class_1", 1), ("class_2", 2)], 255)

    def test_any_value_may_be_ignored(self) -> None:
        assert inferred((0, 1, 2, 11), ignore_index=11) == (THREE, 11)
        assert inferred((0, 1, 255), ignore_index=0) == ([("class_1", 1), ("class_255", 255)], 0)

    def test_values_that_training_lacks(self) -> None:
        headline, masks = complaint((0, 1), validation=((0, 1), (0, 2), (3,)))
        assert "hold values that no training mask has (0, 1)" in headline
        assert "ignore_index" in headline
        assert masks == ["validation_1.png: 2", "validation_2.png: 3"]

    def test_a_single_value(self) -> None:
        with pytest.raises(DataError, match=r"all 2 training masks hold only the value 0, such as train_0\.png"):
            inferred((0,), (0,))
        with pytest.raises(DataError, match="only the value 0 beside the ignored 255"):
            inferred((0, 255), ignore_index=255)
        with pytest.raises(DataError, match="no class beside the ignored 255"):
            inferred((255,), num_classes=3)

    def test_masks_with_soft_edges(self) -> None:
        assert len(inferred(tuple(range(64)))[0]) == 64
        with pytest.raises(
            DataError, match=r"65 different values \(train_1\.png alone 60\): they look JPEG-compressed"
        ):
            inferred((0, 255), tuple(range(60)), tuple(range(20, 65)))

    def test_some_masks_with_1_and_others_with_255(self) -> None:
        with pytest.raises(DataError, match=r"with 1, such as train_0\.png, and others with 255, such as train_1\.png"):
            inferred((0, 1), (0, 255))
        assert inferred((0, 1), (0, 255), num_classes=2) == (BINARY_1, 255)


class TestDeclared:
    def test_classes_are_counted_from_zero(self) -> None:
        assert inferred((0, 1), (2,), num_classes=3) == (THREE, 255)
        assert inferred((0, 1), num_classes=2) == (BINARY_1, 255)

    def test_0_and_255_may_be_two_classes(self) -> None:
        assert inferred((0, 255), num_classes=2) == (BINARY_255, None)
        assert inferred((0, 1, 255), num_classes=2) == (BINARY_1, 255)

    def test_255_is_not_a_class_of_several(self) -> None:
        with pytest.raises(DataError, match="only the value 0 beside the ignored 255"):
            inferred((0, 255), num_classes=3)

    def test_the_ignored_value_is_not_a_class_even_within(self) -> None:
        assert inferred((0, 1, 2, 3), num_classes=4, ignore_index=3) == (THREE, 3)
        assert inferred((0, 1, 2), num_classes=3, ignore_index=0) == ([("class_1", 1), ("class_2", 2)], 0)

    def test_ignoring_one_of_two_leaves_nothing_to_tell_apart(self) -> None:
        with pytest.raises(InputError, match="num_classes is 2 and ignore_index is 0, which leaves a single class"):
            inferred((0, 1, 2), num_classes=2, ignore_index=0)

    def test_a_class_may_be_missing_in_training(self) -> None:
        assert inferred((0, 1), num_classes=3, validation=((2,),)) == (THREE, 255)

    def test_values_above_are_all_named(self) -> None:
        headline, masks = complaint((0, 1), (0, 3), tuple(range(20)), validation=((2, 200),), num_classes=2)
        assert "values outside 0–1 (num_classes is 2, ignored is 255)" in headline
        assert "on_bad_sample=skip" in headline
        assert masks == ["train_1.png: 3", "train_2.png: 2, 3, 4, 5, 6, 7, …", "validation_0.png: 2, 200"]

    def test_values_beside_those_that_the_layout_names(self) -> None:
        classes = (ClassInfo("sky", 0), ClassInfo("road", 3))
        (stranger,) = find_unknown_values(seen((0, 3), (0, 1, 11)), classes, 11)
        assert str(stranger) == "train_1.png: 1"
        headline = unknown_values_headline(classes, 11, DataOptions(num_classes=3), inferred=False)
        assert "not classes (0, 3, ignored is 11)" in headline

    def test_many_values_are_welcome_where_declared(self) -> None:
        assert len(inferred(tuple(range(254)), num_classes=254)[0]) == 254

    @pytest.mark.parametrize("count", [1, 255, 1000])
    def test_counts_that_masks_cannot_hold(self, count: int) -> None:
        with pytest.raises(InputError, match=f"num_classes is {count}"):
            inferred((0, 1), num_classes=count)


@given(
    st.lists(st.sets(st.integers(0, 255), min_size=1, max_size=10), min_size=1, max_size=6),
    st.none() | st.integers(2, 254),
    st.none() | st.integers(0, 255),
)
def test_every_value_is_a_class_or_ignored(
    held: list[set[int]], num_classes: int | None, ignore_index: int | None
) -> None:
    values = seen(*(tuple(sorted(one)) for one in held))
    try:
        classes, ignore_value = infer_classes(values, DataOptions(num_classes=num_classes, ignore_index=ignore_index))
    except (DataError, InputError):
        return
    class_values = [entry.value for entry in classes]
    assert len(class_values) >= 2
    assert class_values == sorted(set(class_values))
    strange = {value for mask in find_unknown_values(values, classes, ignore_value) for value in mask.values}
    assert set(values.of()) == strange | (set(values.of()) & {*class_values, ignore_value})
    assert not strange or num_classes is not None
    assert ignore_value not in class_values
    assert num_classes is None or num_classes - len(classes) in (0, 1)
    assert len({entry.name for entry in classes}) == len(classes)
    assert isinstance(classes[0], ClassInfo)
