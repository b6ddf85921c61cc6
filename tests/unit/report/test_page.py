"""The page as a file: whole, self-contained, and of whatever a record may hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import records

from byoc_vision.cli import main
from byoc_vision.errors import DataError
from byoc_vision.report import page
from byoc_vision.report.charts import curves
from byoc_vision.report.page import render, report_on, write_report
from byoc_vision.report.record import Epoch, Evaluation, Finding, Record, read_record, write_record

JOBS: dict[str, Callable[[Path], Record]] = {
    "segmentation": records.segmentation_job,
    "classification": lambda folder: records.classification_job(folder, records.HOSTILE),
    "multi-label": records.multi_label_job,
    "large": records.large_job,
    "one epoch": records.one_epoch_job,
    "barely begun": records.barely_begun_job,
}


class Read(HTMLParser):
    """What a browser would find in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)

    def values(self, *names: str) -> list[str]:
        return [value for _, attributes in self.tags for name in names if (value := attributes.get(name))]

    @property
    def text(self) -> str:
        shown = [text for tag, texts in self.texts.items() if tag not in ("script", "style") for text in texts]
        return re.sub(r"\s+", " ", " ".join(shown))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each job, with its report."""
    folders = {name: tmp_path_factory.mktemp("jobs") / name.replace(" ", "-") for name in JOBS}
    for name, folder in folders.items():
        JOBS[name](folder)
        assert write_report(folder) == folder / "report.html"
    return folders


@pytest.fixture(scope="module")
def pages(folders: dict[str, Path]) -> dict[str, Read]:
    return {name: Read((folder / "report.html").read_text(encoding="utf-8")) for name, folder in folders.items()}


@pytest.mark.parametrize("job", JOBS)
def test_it_is_whole_and_self_contained(job: str, pages: dict[str, Read], folders: dict[str, Path]) -> None:
    read = pages[job]
    ids = read.values("id")
    assert len(ids) == len(set(ids))
    assert {"verdict", "curves", "predictions", "data", "time", "run"} <= set(ids)
    referred = [*read.values("aria-labelledby", "aria-controls", "data-from"), *read.values("href")]
    assert {name.removeprefix("#") for name in referred if not name.startswith("data:")} <= set(ids)
    assert all(address.startswith(("data:", "#")) for address in read.values("src", "href"))
    assert (folders[job] / "report.html").stat().st_size < 5_000_000
    assert [path.name for path in folders[job].iterdir() if "writing" in path.name] == []


@pytest.mark.parametrize("job", JOBS)
def test_every_image_has_a_description(job: str, pages: dict[str, Read]) -> None:
    images = [attributes for tag, attributes in pages[job].tags if tag == "img"]
    assert all(attributes["alt"] for attributes in images)
    assert bool(images) == (job != "barely begun")


def test_names_are_only_text(pages: dict[str, Read]) -> None:
    read = pages["classification"]
    assert all(name in read.text for name in map(lambda name: re.sub(r"\s+", " ", name), records.HOSTILE))
    assert not [attributes for _, attributes in read.tags if "onerror" in attributes]
    assert len([tag for tag, _ in read.tags if tag == "script"]) == 4
    assert not any("alert(1)</script>" in script for script in read.texts["script"])


def test_no_other_script_may_run(pages: dict[str, Read]) -> None:
    read = pages["classification"]
    policy = next(text for text in read.values("content") if "script-src" in text)
    digests = {
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in read.texts["script"]
        if not script.startswith("{")
    }
    assert set(re.findall(r"'sha256-[^']+'", policy)) == digests
    assert "script-src 'sha256" in policy
    assert policy.startswith("default-src 'none'")


def test_it_shows_the_result(pages: dict[str, Read]) -> None:
    text = pages["segmentation"].text
    for part in ("Dice 0.9522", "Stopped early", "No better Dice for 8 epochs", "1 h 02 min", "0.9665"):
        assert part in text
    for finding in records.FINDINGS:
        assert finding.rule in text
        assert finding.evidence in text
        assert finding.remedy in text


def test_curves_hold_their_values(pages: dict[str, Read], folders: dict[str, Path]) -> None:
    drawn = json.loads(next(text for text in pages["segmentation"].texts["script"] if text.startswith('{"chart-')))
    assert set(drawn) == {
        f"chart-{key}" for key in ("loss", "metrics", "classes", "learning-rate", "speed", "use", "memory")
    }
    said = json.dumps(drawn["chart-loss"])
    record = read_record(folders["segmentation"])
    assert all(f"{epoch.train_loss:.4f}" in said for epoch in record.epochs if epoch.train_loss)


def test_missing_parts_are_named(pages: dict[str, Read]) -> None:
    text = pages["barely begun"].text
    for sentence in (
        "No epoch is complete, so there is no value",
        "No epoch is complete yet, so there are no curves.",
        "No labelled images have been evaluated yet",
        "preflight.json, the report of the check, is missing. 8 train images, 2 classes.",
        "This job recorded no times.",
    ):
        assert sentence in text


def test_an_unreadable_check_of_the_data_is_named(tmp_path: Path) -> None:
    record = records.barely_begun_job(tmp_path)
    (tmp_path / "preflight.json").write_text('{"task": "painting"}')
    assert "preflight.json cannot be read as a check of the data" in render([(record, tmp_path)])


def test_images_leave_room_for_the_rest(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: dict[str, Read]
) -> None:
    """Where they do not fit even when they are small, some are left out, and the page says so."""
    folder = folders["classification"]
    (tmp_path / "preflight.json").write_bytes((folder / "preflight.json").read_bytes())
    record = read_record(folder)
    without = len(render([(record, tmp_path)]).encode())
    monkeypatch.setattr(page, "LIMIT", without + 12_000)
    text = render([(record, folder)])
    assert without < len(text.encode()) <= page.LIMIT
    assert "images are left out to keep this file small" in text
    assert "are left out to keep" not in pages["large"].text


def test_a_model_that_was_only_evaluated(tmp_path: Path) -> None:
    evaluation = Evaluation(split="holiday", epoch=None, images=12, metrics={"dice": 0.75}, classes=[])
    record = records.barely_begun_job(tmp_path, state="finished", planned_epochs=0, evaluations=[evaluation])
    text = Read(render([(record, tmp_path)])).text
    assert "Dice 0.7500 on 12 images of holiday" in text
    assert "Finished" in text


def test_several_side_by_side(folders: dict[str, Path], tmp_path: Path) -> None:
    sources = [folders[name] for name in ("segmentation", "one epoch", "barely begun")]
    path = tmp_path / "deep/comparison.html"
    assert main(["report", *map(str, sources), "--output", str(path)]) == 0
    read = Read(path.read_text(encoding="utf-8"))
    assert {"metrics", "curves", "settings", "chart-metrics", "chart-loss", "chart-training"} <= set(read.values("id"))
    assert all(name in read.text for name in ("2026-11-21 (1)", "2026-11-21 (2)", "barely-begun"))
    assert "learning_rate" in read.text
    assert "works offline" in read.text


def test_the_command_writes_it_again(folders: dict[str, Path]) -> None:
    report = folders["one epoch"] / "report.html"
    before = without_ids(report)
    report.unlink()
    assert main(["report", str(folders["one epoch"])]) == 0
    assert len(without_ids(report)) == len(before)


def without_ids(report: Path) -> str:
    """Bokeh counts what it draws in a process, and its numbers become longer."""
    return re.sub(r'"p\d+"', '"p"', report.read_text(encoding="utf-8"))


def test_the_command_rejects_a_folder_without_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "car.jpg").touch()
    assert main(["report", str(tmp_path)]) == 3
    assert f"{tmp_path} is not a job's output: metrics.json is missing (it holds: car.jpg)" in capsys.readouterr().out


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(DataError, match=r"metrics\.json cannot be read as a job's record"):
        report_on([tmp_path])


_NUMBERS = st.none() | st.floats(allow_nan=False, width=32)
_NAMES = st.sampled_from(["dice", "loss", "iou_<b>", "f1_a b", "x" * 90, "naïve"])
_EPOCHS = st.lists(
    st.builds(
        Epoch,
        epoch=st.integers(1, 1000),
        learning_rate=st.floats(0, 10),
        train_loss=_NUMBERS,
        validation=st.dictionaries(_NAMES, _NUMBERS, max_size=4),
        seconds=st.floats(0, 1e9),
        images_per_second=st.floats(0, 1e6),
    ),
    max_size=3,
    unique_by=lambda epoch: epoch.epoch,
).map(lambda epochs: sorted(epochs, key=lambda epoch: epoch.epoch))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epochs=_EPOCHS,
    state=st.sampled_from(["running", "finished", "stopped_early", "stopped_by_rule", "interrupted", "failed"]),
    best=st.none() | st.integers(1, 1000),
    validation=st.dictionaries(_NAMES, _NUMBERS, max_size=3),
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    names=st.lists(_NAMES, max_size=5),
)
def test_whatever_a_record_holds(
    tmp_path: Path, epochs: list[Epoch], state: str, best: int | None, validation: dict, text: str, names: list[str]
) -> None:
    finding = Finding(rule=text, epoch=1, evidence=text, remedy=text)
    record = records.barely_begun_job(tmp_path, reason=text, findings=[finding] * len(names), name=text)
    record = record.model_copy(
        update={"epochs": epochs, "state": state, "best_epoch": best, "validation": validation, "augmented": names}
    )
    write_record(tmp_path, record)
    read = Read(render([(record, tmp_path)]))
    assert len([tag for tag, _ in read.tags if tag == "section"]) == 6
    assert Read(render([(record, tmp_path), (record, tmp_path)])).tags


def test_the_precisions_of_servers_are_compared(tmp_path: Path) -> None:
    record = records.segmentation_job(tmp_path)
    shown = render([(record, tmp_path)])
    cells = '</td><td class="number">'.join(("0.9694", "26.1 ms", "3.8 ×", "0.12 %"))
    assert f'<th scope="row">int8</th><td class="number">{cells}</td>' in shown
    assert "Without INT8" not in shown
    assert record.served is not None
    left = record.served.model_copy(update={"int8": "f1_<hat> is 0.5"})
    shown = render([(record.model_copy(update={"served": left}), tmp_path)])
    assert "Without INT8: f1_&lt;hat&gt; is 0.5." in shown


def test_a_budget_is_shown_as_planned_and_as_it_came(tmp_path: Path) -> None:
    record = records.classification_job(tmp_path)
    shown = render([(record, tmp_path)])
    cells = '</td><td class="number">'.join(("1,564", "1,334"))
    assert f'<th scope="row">Steps</th><td class="number">{cells}</td>' in shown
    assert "Changed 2 times on the way. The learning rate&#39;s schedule reaches its end." in shown
    cut = records.BUDGET.model_copy(update={"changes": 0, "schedule": 0.874})
    shown = render([(record.model_copy(update={"budget": cut}), tmp_path)])
    assert "stayed as it was. The training ended at 87 % of the learning rate&#39;s schedule." in shown


def test_the_floor_is_a_level_line_and_each_choice_has_its_reason(tmp_path: Path) -> None:
    record = records.classification_job(tmp_path)
    (metrics,) = [chart for chart in curves(record) if chart.key == "metrics"]
    floor = metrics.series[-1]
    assert (floor.name, set(floor.values), floor.level) == ("accuracy of the floor", {0.83}, True)
    shown = render([(record, tmp_path)])
    assert '<th scope="row">epochs</th><td>34</td><td>as many fit into budget=20m</td>' in shown
