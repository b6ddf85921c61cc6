"""The report in a browser, from a file: its curves, tables, galleries, on a desk, on a phone, in the dark."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from support import records, searches
from support.browser import DESK, PHONE, Page, chromium, console, requested

from byoc_vision.report.page import report_on, write_report
from byoc_vision.report.record import Record
from byoc_vision.tuning.page import write_tuning_page

pytestmark = pytest.mark.timeout(300)

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build/screenshots"
MINIMUM_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA

JOBS: dict[str, Callable[[Path], Record]] = {
    "segmentation": records.segmentation_job,
    "classification": lambda folder: records.classification_job(folder, (*records.ANIMALS, *records.HOSTILE)),
    "one-epoch": records.one_epoch_job,
    "barely-begun": records.barely_begun_job,
}

# The contrast of every text that is seen with the colours that lie behind it, blended.
CONTRASTS = """
const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (element) => {
  if (!element) return [255, 255, 255];
  const [r, g, b, a] = parse(getComputedStyle(element).backgroundColor);
  if (a === 1) return [r, g, b];
  return behind(element.parentElement).map((under, at) => under * (1 - a) + [r, g, b][at] * a);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
  const {data, parentElement} = walker.currentNode;
  if (!data.trim() || !parentElement.checkVisibility()) continue;
  if (parentElement.closest("noscript, .unseen, script, svg")) continue;
  const pair = [parse(getComputedStyle(parentElement).color), behind(parentElement)].map(light).sort((a, b) => b - a);
  found.push([data.trim(), (pair[0] + 0.05) / (pair[1] + 0.05)]);
}
return found;
"""
TOOLTIP = "return [...document.querySelectorAll('.bk-Tooltip')].map((box) => box.shadowRoot.textContent).join(' ')"
# Where a point of a plot lies in the window, in CSS pixels.
PLACE = """
const [plot, x, y] = arguments;
const view = Bokeh.index.roots.find((view) => plot.contains(view.el));
const {left, top} = view.el.getBoundingClientRect();
return [left + view.frame.x_scale.compute(x), top + view.frame.y_scale.compute(y)];
"""
LOADED = "return [...document.images].every((image) => image.naturalWidth > 0)"
DRAWN = """
const plots = [...document.querySelectorAll(".plot")];
const canvases = (root) => [...root.querySelectorAll("*")].flatMap((element) =>
  [...(element.matches("canvas") ? [element] : []), ...(element.shadowRoot ? canvases(element.shadowRoot) : [])]);
return plots.every((plot) => canvases(plot).some((canvas) => canvas.width > 100 && canvas.height > 100));
"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folders = {name: tmp_path_factory.mktemp("reports") / name for name in JOBS}
    addresses = {}
    for name, folder in folders.items():
        JOBS[name](folder)
        addresses[name] = write_report(folder).as_uri()
    compared = [folders[name] for name in ("segmentation", "one-epoch", "barely-begun")]
    asked, searched = searches.request(), tmp_path_factory.mktemp("searched")
    write_tuning_page(searched / "tuning.html", searches.whole_search(searched, asked), asked)
    addresses["search"] = (searched / "tuning.html").as_uri()
    addresses["comparison"] = report_on(compared, folders["segmentation"] / "comparison.html").as_uri()
    return addresses


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def visit(browser: webdriver.Chrome, addresses: dict[str, str]) -> Iterator[Callable[..., Page]]:
    """A report by name. Whatever a test does there, nothing is asked of any network, and the console stays empty."""

    def visit(name: str, size: tuple[int, int] = DESK, **features: str) -> Page:
        page = Page(browser, addresses[name])
        page.look(size, reduced_motion="reduce", **features)
        browser.get(addresses[name])
        page.until(lambda: page.script(DRAWN))
        return page

    yield visit
    browser.get("about:blank")
    asked = [url for url in requested(browser) if not url.startswith(("data:", "about:"))]
    assert set(asked) <= set(addresses.values())
    assert console(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_is_readable_and_fits(visit: Callable[..., Page], size: tuple[int, int], scheme: str) -> None:
    names = tuple(JOBS) if scheme == "light" else ("segmentation", "classification")
    for name in (*names, "comparison", "search"):
        page = visit(name, size, color_scheme=scheme)
        keep_screenshot(page, f"report-{name}-{'desk' if size == DESK else 'phone'}-{scheme}")
        assert page.script("return document.documentElement.scrollWidth") <= size[0]
        ground = page.script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (np.mean(ground) < 64) == (scheme == "dark")
        contrasts = page.script(CONTRASTS)
        assert len(contrasts) > 20
        assert [(text, ratio) for text, ratio in contrasts if ratio < MINIMUM_CONTRAST] == []


def keep_screenshot(page: Page, name: str) -> None:
    """Of the whole page, in build/screenshots: for people."""
    width, height = page.script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 8_000), "scale": 1}
    asked = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    taken = page.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_tell_their_values(visit: Callable[..., Page], addresses: dict[str, str], scheme: str) -> None:
    page = visit("segmentation", color_scheme=scheme)
    plot = page["chart-loss"]
    page.script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    pointer = webdriver.ActionChains(page.driver).move_to_element_with_offset(plot, 1, 0)
    pointer.pause(0.1).move_by_offset(4, 3).perform()
    page.until(lambda: "training" in page.script(TOOLTIP))
    said = page.script(TOOLTIP)
    folder = Path(addresses["segmentation"].removeprefix("file://")).parent
    history = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["epochs"]
    epoch = next(entry for entry in history if f"{entry['train_loss']:.4f}" in said)
    assert f"epoch: {epoch['epoch']}" in said
    assert f"validation: {epoch['validation']['loss']:.4f}" in said
    box = page.all(".bk-Tooltip")[0]
    ground = page.script("return getComputedStyle(arguments[0]).backgroundColor.match(/\\d+/g).map(Number)", box)
    assert (np.mean(ground) < 64) == (scheme == "dark")


@pytest.mark.parametrize(("chart", "x", "y"), [("epochs", 4, 0.9123), ("parallel", 8, 1), ("progress", 9, 0.9123)])
def test_trials_tell_what_they_are(visit: Callable[..., Page], chart: str, x: float, y: float) -> None:
    """x, y: where the best trial's figure lies in the plot."""
    page = visit("search")
    plot = page[f"chart-{chart}"]
    page.script("arguments[0].scrollIntoView({block: 'center', inline: 'end', behavior: 'instant'})", plot)
    right, down = page.script(PLACE, plot, x, y)
    page.point(round(right), round(down))
    page.until(lambda: "0.9123" in page.script(TOOLTIP))
    assert "trial: 9" in page.script(TOOLTIP)


def test_trials_sort(visit: Callable[..., Page]) -> None:
    page = visit("search")
    table = page.all("table.sortable")[0]
    table.find_elements("css selector", "thead button")[2].click()
    figures = [row.text for row in table.find_elements("css selector", "tbody tr > :nth-child(3)")]
    assert figures[0] == "0.9123"
    assert figures[-2:] == ["–", "–"]
    known = [float(text) for text in figures[:-2]]
    assert known == sorted(known, reverse=True)


def test_curves_follow_the_scheme(visit: Callable[..., Page]) -> None:
    page = visit("segmentation", color_scheme="light")
    page.look(DESK, color_scheme="dark", reduced_motion="reduce")
    page.until(lambda: page.script("return document.documentElement.dataset.drawn") == "dark")
    page.until(lambda: page.script(DRAWN))
    assert len(page.all(".plot > *")) == len(page.all(".plot"))


def test_images_are_there_and_galleries_change(visit: Callable[..., Page]) -> None:
    for name in ("segmentation", "classification"):
        page = visit(name)
        page.until(lambda page=page: page.script(LOADED))
        assert len(page.all("img")) > 20
    worst, random, _ = page.all("[role=tab]")
    assert [panel.is_displayed() for panel in page.all("[role=tabpanel]")] == [True, False, False]
    worst.click()
    page.press(Keys.ARROW_RIGHT)
    assert page.driver.switch_to.active_element == random
    assert [panel.is_displayed() for panel in page.all("[role=tabpanel]")] == [False, True, False]
    judged = [text for text in page.texts(".judged") if text]
    assert set(judged) == {"✓ right", "✗ wrong"}


def test_an_image_is_enlarged_by_keyboard(visit: Callable[..., Page]) -> None:
    page = visit("segmentation")
    first = page.all(".enlarge")[0]
    first.send_keys(Keys.ENTER)
    page.until(lambda: page["zoom"].is_displayed())
    assert len(page.all("#enlarged img")) == 4
    assert page.all("#enlarged img")[0].size["width"] > 300
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda: "0001_front view.jpg" in page["enlarged"].text)
    page.press(Keys.ESCAPE)
    page.until(lambda: not page["zoom"].is_displayed())


def test_tables_sort(visit: Callable[..., Page]) -> None:
    page = visit("classification")
    table = page.all(".scores table")[0]

    def column(place: int) -> list[str]:
        return [row.text for row in table.find_elements("css selector", f"tbody tr > :nth-child({place})")]

    heads = table.find_elements("css selector", "thead button")
    heads[1].click()
    scores = [float(text) for text in column(2)]
    assert scores == sorted(scores, reverse=True)
    heads[1].click()
    assert [float(text) for text in column(2)] == sorted(scores)
    assert page.all(".scores th[aria-sort]")[0].get_attribute("aria-sort") == "ascending"
    heads[0].send_keys(Keys.ENTER)
    assert column(1)[-1] == "zebra"
    assert "<script>alert(1)</script>" in column(1)


def test_everything_has_a_name(visit: Callable[..., Page]) -> None:
    page = visit("segmentation")
    elements = page.accessible()
    named = {"button", "link", "image", "tab", "region", "navigation", "searchbox"}
    assert [role for role, name in elements if role in named and not name] == []
    names = [name for role, name in elements if role == "heading"]
    assert {"Curves", "Predictions", "Data", "Time", "Run"} <= set(names)
    assert any(name.startswith("Loss. training: from ") for _, name in elements)


def test_the_command_is_copied(visit: Callable[..., Page]) -> None:
    page = visit("segmentation")
    button = page.all("button.copy")[0]
    button.click()
    page.until(lambda: button.text == "Copied")
    assert page.script("return getSelection().toString()") == page["command"].text


def test_all_is_on_paper(visit: Callable[..., Page]) -> None:
    page = visit("segmentation")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(panel.is_displayed() for panel in page.all("[role=tabpanel]"))
    assert not page.all("nav")[0].is_displayed()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
