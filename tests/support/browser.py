"""A real browser, Chromium without a window, and the page in it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMEDRIVER = "/usr/bin/chromedriver"  # Debian's: selenium would otherwise look for one on the network
PLAIN_HOST = "plain.test"  # this machine, but not as "localhost", which browsers trust without TLS
SOON = 60  # seconds, on a machine with much else to do
DESK, PHONE = (1280, 860), (320, 640)  # CSS pixels; phones are 360 wide, or 320 where all is set large

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--host-resolver-rules=MAP {PLAIN_HOST} 127.0.0.1",
)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """With a drawn camera that may be used, and logs of its console and its requests."""
    options = webdriver.ChromeOptions()
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page of one server, as somebody uses it."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, *, wait: bool = True) -> Page:
        self.driver.get(f"{self.url}/")
        if wait:
            self.until(lambda: self["file"].is_enabled())
        return self

    def __getitem__(self, identity: str) -> WebElement:
        return self.driver.find_element(By.ID, identity)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def script(self, code: str, *arguments: object) -> Any:
        return self.driver.execute_script(code, *arguments)

    def until(self, condition: Callable[[], object]) -> None:
        try:
            WebDriverWait(self.driver, SOON, poll_frequency=0.05).until(lambda _: condition())
        except TimeoutException as error:
            raise AssertionError(f"never came: {self.driver.find_element(By.TAG_NAME, 'body').text}") from error

    def choose(self, image: Path) -> Page:
        """Through the file dialog."""
        self["file"].send_keys(str(image))
        return self

    def answered(self, name: str) -> Page:
        """Wait for the answer about an image of this name."""
        self.until(lambda: self.said().startswith(f"{name} · ") and "predicted in" in self.said())
        return self

    def refused(self, name: str) -> str:
        """Wait for the error about an image of this name: what it says."""
        self.until(lambda: self["code"].text.startswith(name))
        return self["reason"].text

    def said(self) -> str:
        return self["status"].text

    def press(self, *keys: str) -> WebElement:
        """What has the focus then."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()
        return self.driver.switch_to.active_element

    def point(self, x: int, y: int) -> None:
        """Move the mouse there, in CSS pixels of the window; it comes from just above, for listeners to moves."""
        mouse = ActionBuilder(self.driver)
        mouse.pointer_action.move_to_location(x, y - 3).pause(0.1).move_to_location(x, y)
        mouse.perform()

    def tab_to(self, identity: str) -> WebElement:
        """By the keyboard alone."""
        for _ in range(30):
            if (element := self.press(Keys.TAB)).get_attribute("id") == identity:
                return element
        raise AssertionError(f"Tab never comes to {identity}")

    def canvas(self, identity: str) -> np.ndarray:
        """uint8 RGBA [H, W, 4], as it was painted."""
        url = self.script("return document.getElementById(arguments[0]).toDataURL('image/png')", identity)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))

    def style(self, element: WebElement, name: str, pseudo: str | None = None) -> str:
        code = "return getComputedStyle(arguments[0], arguments[2]).getPropertyValue(arguments[1])"
        return str(self.script(code, element, name, pseudo))

    def look(self, size: tuple[int, int] = DESK, **features: str) -> None:
        """A screen of this size in CSS pixels, and what its user prefers, such as color_scheme="dark"."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        wishes = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wishes})

    def drop(self, image: Path) -> Page:
        """Drag a file from outside onto the stage, and let it go."""
        box = self["stage"].rect
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(image)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
        return self

    def allow_clipboard(self) -> None:
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions, "origin": self.url})

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything that assistive technology gets."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        told = [node for node in nodes if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in told]


def console(driver: webdriver.Chrome) -> list[str]:
    """What the console said since the last look."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver: webdriver.Chrome) -> list[str]:
    """The address of every request since the last look."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
