"""What a request may ask for, asked on the page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import requests
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from support.browser import PHONE, Page
from support.images import decode
from support.servers import READY_LIMIT

pytestmark = pytest.mark.timeout(300)


def offered(page: Page) -> list[str]:
    """The controls that are seen, once the server has said what it offers."""
    page.until(lambda: page["options"].is_displayed())
    return [name for name in ("threshold", "tile", "side", "tta") if page[name].is_displayed()]


def choose(page: Page, control: str, value: str) -> None:
    offered(page)
    Select(page[control]).select_by_value(value)


def move(slider: WebElement, steps: int) -> None:
    slider.send_keys((Keys.ARROW_RIGHT if steps > 0 else Keys.ARROW_LEFT) * abs(steps))


def is_painted(page: Page, image: Path, query: str) -> bool:
    """Whether the page shows the mask that the server answers when asked so."""
    headers = {"Content-Type": "image/png", "Accept": "image/png"}
    url = f"{page.url}/invocations?{query}"
    mask = decode(requests.post(url, image.read_bytes(), headers=headers, timeout=READY_LIMIT).content)
    assert len(np.unique(mask)) == 2, "or the test would show little"
    return np.array_equal(page.canvas("mask")[..., 3] == 255, mask == 255)


def test_a_model_s_own_are_offered(masks: Page, labels: Page, tags: Page, cars: Page) -> None:
    for page, controls in (
        (masks, ["tile", "tta"]),
        (labels, ["tta"]),
        (tags, ["threshold", "tta"]),
        (cars, ["threshold", "tile", "tta"]),
    ):
        assert offered(page.open()) == controls


def test_a_threshold_asks_again(cars: Page, image: Path) -> None:
    cars.choose(image).answered(image.name)
    offered(cars)
    assert is_painted(cars, image, "")
    assert cars["cut"].text == "0.5, the model's own"
    slider = cars["threshold"]
    move(slider, -2)
    assert slider.get_attribute("aria-valuetext") == cars["cut"].text == "0.48"
    assert "invocations?threshold=0.48" in cars["curl"].text
    cars.until(lambda: is_painted(cars, image, "threshold=0.48"))
    assert not is_painted(cars, image, ""), "or the test would show little"
    assert cars.driver.switch_to.active_element == slider
    move(slider, 2)
    assert "?" not in cars["curl"].text
    cars.until(lambda: is_painted(cars, image, ""))


def test_many_moves_are_one_question(cars: Page, image: Path) -> None:
    cars.choose(image).answered(image.name)
    offered(cars)
    cars.script("performance.clearResourceTimings()")
    cars.script(
        "const slider = document.getElementById('threshold');"
        "for (let step = 0; step < 20; step++) { slider.stepUp(); slider.dispatchEvent(new Event('input')); }"
    )
    asked = "return performance.getEntriesByType('resource').map(({name}) => name).filter((name) => name.includes('?'))"
    cars.until(lambda: cars.script(asked))
    assert cars.script(asked) == [f"{cars.url}/invocations?threshold=0.7"]


def test_a_threshold_of_several_classes(tags: Page, image: Path) -> None:
    tags.choose(image).answered(image.name)
    offered(tags)
    marks = "return [...document.querySelectorAll('#bars .mark')].map((mark) => mark.textContent)"
    tags["threshold"].send_keys(Keys.END)
    tags.until(lambda: set(tags.script(marks)) == {"absent"})
    tags["threshold"].send_keys(Keys.HOME)
    tags.until(lambda: set(tags.script(marks)) == {"present"})


def test_tiles_and_mirror_images_are_sent_and_in_the_command(cars: Page, image: Path) -> None:
    choose(cars, "tile", "auto")
    choose(cars, "tta", "flips")
    assert "'" + f"{cars.url}/invocations?tile=auto&tta=flips" + "'" in cars["curl"].text
    cars.choose(image).answered(image.name)
    assert is_painted(cars, image, "tile=auto&tta=flips")
    assert not is_painted(cars, image, ""), "or the test would show little"
    command = cars["curl"].text
    done = subprocess.run(["sh", "-c", command], cwd=image.parent, capture_output=True, check=True, timeout=30)
    assert f'"size": [{cars.canvas("mask").shape[0]}, ' in done.stdout.decode()


def test_a_tile_s_side_is_sent_once_it_is_one(cars: Page, image: Path) -> None:
    cars.choose(image).answered(image.name)
    choose(cars, "tile", "size")
    side = cars["side"]
    assert "tile=512" in cars["curl"].text
    side.send_keys(Keys.END, Keys.BACKSPACE * 3, "4")
    assert "tile=51'" in cars["curl"].text, "4 is not a side, 51 was the last"
    side.send_keys("8")
    assert "tile=48" in cars["curl"].text
    cars.until(lambda: is_painted(cars, image, "tile=48"))
    choose(cars, "tile", "none")
    assert not side.is_displayed()
    assert "?" not in cars["curl"].text


def test_a_camera_goes_on_with_them(masks: Page) -> None:
    masks["camera"].click()
    masks.until(lambda: masks.script("return document.getElementById('video').videoWidth"))
    masks["live"].click()
    masks.answered("camera.jpg")
    choose(masks, "tta", "flip")
    asked = "return performance.getEntriesByType('resource').some(({name}) => name.endsWith('?tta=flip'))"
    masks.until(lambda: masks.script(asked))
    masks["live"].click()
    assert masks["mask"].is_displayed()


def test_by_keyboard_and_screen_reader_on_a_phone(cars: Page, image: Path) -> None:
    cars.look(PHONE)
    cars.open().choose(image).answered(image.name)
    choose(cars, "tile", "size")
    assert offered(cars) == ["threshold", "tile", "side", "tta"]
    assert cars.script("return document.documentElement.scrollWidth") <= PHONE[0]
    order = [cars.tab_to("threshold"), *(cars.press(Keys.TAB) for _ in range(3))]
    assert [element.get_attribute("id") for element in order] == ["threshold", "tile", "side", "tta"]
    told = {name for role, name in cars.accessible() if re.match(r"slider|combobox|spinbutton", role, re.IGNORECASE)}
    assert {"Threshold", "Tiles", "Longer side of a tile, in pixels", "Mirror images"} <= told


def test_without_a_description_images_are_answered(labels: Page, image: Path) -> None:
    labels.driver.execute_cdp_cmd("Network.enable", {})
    labels.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/openapi.json"]})
    try:
        labels.open().choose(image).answered(image.name)
        assert not labels["options"].is_displayed()
    finally:
        labels.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        labels.driver.get_log("browser")  # the browser says that it was blocked
