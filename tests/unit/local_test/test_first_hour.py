"""The page of the first hour is compared with what the commands say, up to numbers and what a machine has."""

from __future__ import annotations

import re
import sys

import pytest
from support.readme import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "local_test"))
import first_hour

PAGE = first_hour.PAGE.read_text(encoding="utf-8")


def test_the_page_shows_every_command_with_its_text() -> None:
    assert re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE) == [step.command for step in first_hour.STEPS]
    for step in first_hour.STEPS:
        assert step.text in PAGE


def test_other_numbers_and_times_are_not_a_difference() -> None:
    recorded = PAGE.partition(first_hour._BEGIN)[2].partition(first_hour._END)[0]
    assert first_hour.differences(PAGE, recorded) == []
    other = re.sub(r"seconds=[\d.]+", "seconds=123.45", recorded).replace("circle       80 ", "circle        7 ")
    assert other != recorded
    assert first_hour.differences(PAGE, other) == []


@pytest.mark.parametrize(("line", "instead"), [("did you mean epochs?", "did you mean steps?"), ("model.json\n", "")])
def test_another_line_is_a_difference(line: str, instead: str) -> None:
    recorded = PAGE.partition(first_hour._BEGIN)[2].partition(first_hour._END)[0]
    assert line in recorded
    assert first_hour.differences(PAGE, recorded.replace(line, instead))


@pytest.mark.parametrize("place", ["epoch 2", "epoch 1, step 3"])
def test_findings_about_speed_are_not_recorded(place: str) -> None:
    assert first_hour._PASSING.match(f"StepOutlier ({place}): one step took 9 s. Remedy: look at the disk")
