"""The page by keyboard, by screen reader, on a phone, in the dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys
from support.browser import DESK, PHONE, Page

pytestmark = pytest.mark.timeout(300)

CONTROLS = {"button", "checkbox", "slider", "link", "image", "Canvas", "graphics-document"}
MINIMUM_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA

# Contrast of every text that is seen with what lies behind it.
CONTRASTS = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = parse(getComputedStyle(element).backgroundColor);
    if ((colour[3] ?? 1) > 0.5) return colour;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
  const {data, parentElement} = walker.currentNode;
  if (!data.trim() || !parentElement.checkVisibility() || parentElement.closest("noscript")) continue;
  const pair = [parse(getComputedStyle(parentElement).color), behind(parentElement)].map(light).sort((a, b) => b - a);
  found.push([data.trim(), (pair[0] + 0.05) / (pair[1] + 0.05)]);
}
return found;
"""


def test_the_keyboard_is_enough(masks: Page, image: Path) -> None:
    file = masks.tab_to("file")
    label = masks.all("label[for=file]")[0]
    assert masks.style(label, "outline-style") == "solid", "the focus is seen"
    file.send_keys(str(image))  # what Enter and the file dialog do
    masks.answered(image.name)
    slider = masks.tab_to("opacity")
    assert masks.style(slider, "outline-style") != "none"
    before = float(masks.style(masks["mask"], "opacity"))
    masks.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert float(masks.style(masks["mask"], "opacity")) == pytest.approx(before + 0.1)
    assert slider.get_attribute("aria-valuetext") == masks["percent"].text == f"{before + 0.1:.0%}"
    masks.press(Keys.HOME)
    assert float(masks.style(masks["mask"], "opacity")) == 0
    masks.press(Keys.TAB, Keys.SPACE)
    assert not masks.all("#classes input")[0].is_selected()
    masks.tab_to("copy")
    masks.allow_clipboard()
    masks.press(Keys.ENTER)
    masks.until(lambda: masks["copied"].text == "Copied")


def test_the_camera_by_keyboard(labels: Page) -> None:
    labels.tab_to("camera").send_keys(Keys.ENTER)
    labels.until(lambda: labels.script("return document.getElementById('video').videoWidth"))
    assert labels.driver.switch_to.active_element == labels["take"]
    labels.press(Keys.ENTER)
    labels.answered("camera.jpg")
    assert labels.driver.switch_to.active_element == labels["camera"]


def test_everything_has_a_name(masks: Page, tags: Page, image: Path) -> None:
    masks.open().choose(image).answered(image.name)
    told = masks.accessible()
    assert [role for role, name in told if role in CONTROLS and not name] == []
    names = {name for _, name in told}
    assert {"Choose an image", "Use the camera", "Opacity", "Copy as curl", f"The image {image.name}"} <= names
    checkboxes = [name for role, name in told if role == "checkbox"]
    assert [name.split("%")[0].rsplit(" ", 1)[0] for name in checkboxes] == [f"thing {v}" for v in range(0, 60, 10)]
    assert any(name.startswith("The mask: thing ") for name in names)
    assert {("status", ""), ("heading", "byoc-vision"), ("heading", "Mask")} <= {
        (role, "" if role == "status" else name) for role, name in told
    }


def test_predictions_and_errors_are_announced(labels: Page, image: Path) -> None:
    assert labels["status"].get_attribute("role") == "status"
    labels.choose(image).answered(image.name)
    said = labels["status"].get_property("textContent")
    best = labels.texts("#bars li")[0].split()
    assert f": {best[0]} {best[1]}" in said
    assert labels["error"].get_attribute("role") == "alert"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_is_readable_and_fits(
    masks: Page, tags: Page, image: Path, folder: Path, scheme: str, size: tuple[int, int]
) -> None:
    for page in (masks, tags):
        page.look(size, color_scheme=scheme)
        page.open().choose(image).answered(image.name)
        check_look(page, size, scheme)
    nothing = folder / "a-rather-long-name-of-a-file-that-is-not-an-image-at-all.jpg"
    nothing.write_bytes(b"nothing")
    tags.choose(nothing).refused(nothing.name)
    check_look(tags, size, scheme)


def check_look(page: Page, size: tuple[int, int], scheme: str) -> None:
    assert page.script("return document.documentElement.scrollWidth") <= size[0]
    assert page.script("return innerWidth") == size[0]
    ground = page.script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (np.mean(ground) < 64) == (scheme == "dark")
    contrasts = page.script(CONTRASTS)
    assert len(contrasts) > 10
    assert [(text, ratio) for text, ratio in contrasts if ratio < MINIMUM_CONTRAST] == []


def test_nothing_moves_where_that_is_not_wanted(labels: Page) -> None:
    labels.script("document.getElementById('stage').setAttribute('aria-busy', 'true')")
    assert labels.style(labels["stage"], "animation-name", "::before") == "pass"
    labels.look(reduced_motion="reduce")
    assert labels.style(labels["stage"], "animation-name", "::before") == "none"
