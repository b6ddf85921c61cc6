"""The page does what it shows: asked of real servers, seen in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from support.browser import Page
from support.images import decode, encode
from support.servers import READY_LIMIT

from byoc_vision.inference.overlay import class_colours

pytestmark = pytest.mark.timeout(300)

EXIF_TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def served_mask(url: str, image: Path) -> np.ndarray:
    """The server's own mask, uint8 [H, W]."""
    headers = {"Content-Type": "image/png", "Accept": "image/png"}
    answer = requests.post(f"{url}/invocations", image.read_bytes(), headers=headers, timeout=READY_LIMIT)
    return decode(answer.content)


def colours(page: Page) -> np.ndarray:
    """The colour beside each class, uint8 [K, 3]."""
    texts = [page.style(row, "--colour") for row in page.all("#classes li")]
    return np.array([re.findall(r"\d+", text) for text in texts], dtype=np.uint8)


class TestMask:
    def test_every_pixel_has_the_colour_of_its_class(self, masks: Page, image: Path, rgb: np.ndarray) -> None:
        masks.choose(image).answered(image.name)
        mask = served_mask(masks.url, image)
        assert len(np.unique(mask)) > 2, "or the test would show little"
        painted = masks.canvas("mask")
        np.testing.assert_array_equal(painted[..., :3], colours(masks)[mask // 10])
        np.testing.assert_array_equal(colours(masks), class_colours(6))
        assert (painted[..., 3] == 255).all()
        np.testing.assert_array_equal(masks.canvas("image")[..., :3], rgb)

    def test_names_and_shares(self, masks: Page, image: Path) -> None:
        masks.choose(image).answered(image.name)
        mask = served_mask(masks.url, image)
        shares = [f"{np.mean(mask == value):.1%}" for value in range(0, 60, 10)]
        assert masks.texts("#classes .name") == [f"thing {value}" for value in range(0, 60, 10)]
        assert masks.texts("#classes .number") == shares
        assert re.search(r"image\.png · 120 × 90 · \d+ KB · predicted in \d+ ms", masks.said())

    def test_a_class_is_hidden_and_stays_hidden(self, masks: Page, image: Path) -> None:
        masks.choose(image).answered(image.name)
        indices = served_mask(masks.url, image) // 10
        largest = int(np.bincount(indices.reshape(-1)).argmax())
        chosen = indices == largest
        masks.all("#classes input")[largest].click()
        assert np.array_equal(masks.canvas("mask")[..., 3] == 0, chosen)
        masks["none"].click()
        assert not masks.canvas("mask")[..., 3].any()
        masks["all"].click()
        assert masks.canvas("mask")[..., 3].all()
        masks.all("#classes input")[largest].click()
        again = image.with_name("again.png")
        again.write_bytes(image.read_bytes())
        masks.choose(again).answered("again.png")
        assert np.array_equal(masks.canvas("mask")[..., 3] == 0, chosen)

    def test_the_class_below_the_pointer_is_named(self, masks: Page, image: Path) -> None:
        masks.choose(image).answered(image.name)
        mask = served_mask(masks.url, image)
        box = masks["mask"].rect
        for row, column in ((5, 5), (85, 5), (45, 65), (15, 115)):
            where = {
                "x": box["x"] + (column + 0.5) / 120 * box["width"],
                "y": box["y"] + (row + 0.5) / 90 * box["height"],
            }
            masks.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **where})
            masks.until(lambda row=row, column=column: masks["under"].text == f"thing {mask[row, column]}")

    def test_a_large_mask_is_painted_smaller_but_sent_whole(self, masks: Page, folder: Path, rgb: np.ndarray) -> None:
        large = folder / "large.png"
        large.write_bytes(encode(rgb.repeat(18, axis=0).repeat(18, axis=1)))
        masks.choose(large).answered("large.png")
        assert "2160 × 1620" in masks.said()
        painted = masks.canvas("mask")
        assert painted.shape == (1536, 2048, 4)
        rows, columns = (((np.arange(size) + 0.5) * 2160 / 2048).astype(int) for size in (1536, 2048))
        expected = colours(masks)[served_mask(masks.url, large)[np.ix_(rows, columns)] // 10]
        np.testing.assert_array_equal(painted[..., :3], expected)


class TestClasses:
    def test_bars_best_first(self, labels: Page, image: Path) -> None:
        labels.choose(image).answered(image.name)
        ranked = answer_of(labels, image)
        assert labels.texts("#bars .name") == [entry["label"] for entry in ranked]
        assert labels.texts("#bars .number") == [f"{entry['score']:.1%}" for entry in ranked]
        lengths = [float(labels.style(bar, "--share")) for bar in labels.all("#bars li")]
        assert lengths == [entry["score"] for entry in ranked]
        assert [bar.get_attribute("class") for bar in labels.all("#bars li")] == ["chosen", "", ""]
        assert not labels.all("#bars .mark")
        assert not labels["masks"].is_displayed()

    def test_of_several_labels_each_is_present_or_absent(self, tags: Page, image: Path) -> None:
        tags.choose(image).answered(image.name)
        ranked = answer_of(tags, image)
        assert {entry["present"] for entry in ranked} == {True, False}, "or the test would show little"
        marks = ["present" if entry["present"] else "absent" for entry in ranked]
        assert tags.texts("#bars .mark") == marks[:10]
        tags["more"].click()
        assert tags.texts("#bars .mark") == marks


def answer_of(page: Page, image: Path) -> list[dict[str, object]]:
    headers = {"Content-Type": "image/png"}
    answer = requests.post(f"{page.url}/invocations", image.read_bytes(), headers=headers, timeout=READY_LIMIT)
    ranked: list[dict[str, object]] = answer.json()
    return ranked


class TestWaysIn:
    def test_drop(self, masks: Page, image: Path) -> None:
        masks.drop(image).answered(image.name)
        assert masks["mask"].is_displayed()

    def test_paste(self, labels: Page, image: Path) -> None:
        labels.allow_clipboard()
        labels.driver.execute_async_script(
            "const [bytes, done] = arguments;"
            "const blob = new Blob([new Uint8Array(bytes)], {type: 'image/png'});"
            "navigator.clipboard.write([new ClipboardItem({'image/png': blob})]).then(done, done)",
            list(image.read_bytes()),
        )
        webdriver.ActionChains(labels.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
        labels.answered("image.png")
        assert labels["save"].text == "Save image.png", "curl would not find what was never a file"

    def test_the_camera(self, masks: Page) -> None:
        masks["camera"].click()
        masks.until(lambda: masks.script("return document.getElementById('video').videoWidth"))
        assert masks["video"].is_displayed()
        masks["take"].click()
        masks.answered("camera.jpg")
        assert masks["mask"].is_displayed()
        assert not masks["video"].is_displayed()
        assert masks.script("return document.getElementById('video').srcObject") is None
        assert masks.driver.switch_to.active_element == masks["camera"]

    def test_the_camera_live(self, masks: Page) -> None:
        masks["camera"].click()
        masks.until(lambda: masks.script("return document.getElementById('video').videoWidth"))
        masks["live"].click()
        masks.answered("camera.jpg")
        first = masks.canvas("image")
        box = masks.all("#classes input")[2]
        box.send_keys(Keys.SPACE)
        masks.until(lambda: not np.array_equal(masks.canvas("image"), first))
        assert masks["status"].get_attribute("aria-live") == "off"
        assert masks.driver.switch_to.active_element == box, "a new answer does not take the focus away"
        for _ in range(5):
            seen = masks.canvas("image")
            masks.until(lambda seen=seen: not np.array_equal(masks.canvas("image"), seen))
        assert not masks.script("return document.getElementById('video').paused"), "browsers stop what cannot be seen"
        masks["live"].click()
        assert masks["mask"].is_displayed()
        assert masks["camera"].is_displayed()
        assert masks.script("return document.getElementById('video').srcObject") is None

    def test_escape_closes_the_camera(self, masks: Page) -> None:
        masks["camera"].click()
        masks.until(lambda: masks["video"].is_displayed())
        masks.press(Keys.ESCAPE)
        masks.until(lambda: masks["hint"].is_displayed())
        assert not masks["video"].is_displayed()

    def test_without_trust_there_is_no_camera_and_copying_still_works(self, untrusted: Page) -> None:
        assert not untrusted["camera"].is_displayed()
        untrusted["copy"].click()
        untrusted.until(lambda: untrusted["copied"].text == "Copied")

    def test_an_image_is_turned_as_on_the_server(self, masks: Page, folder: Path, rgb: np.ndarray) -> None:
        turned = folder / "turned.jpg"
        turned.write_bytes(encode(rgb, "JPEG", exif=EXIF_TURNED))
        masks.choose(turned).answered("turned.jpg")
        assert "90 × 120" in masks.said()
        assert masks.canvas("mask").shape == (120, 90, 4)

    def test_what_the_browser_cannot_show_still_has_a_mask(self, masks: Page, folder: Path, rgb: np.ndarray) -> None:
        scan = folder / "scan.tiff"
        scan.write_bytes(encode(rgb, "TIFF"))
        masks.choose(scan).answered("scan.tiff")
        assert masks.canvas("mask").shape == (90, 120, 4)
        assert masks["frame"].is_displayed()
        assert "cannot show it" in masks["image"].get_attribute("aria-label")


class TestCurl:
    @pytest.mark.parametrize("kind", ["masks", "labels"])
    def test_the_command_gives_the_page_s_answer(
        self, visit: Callable[[str], Page], urls: dict[str, str], kind: str, image: Path
    ) -> None:
        page = visit(urls[kind]).open()
        page.allow_clipboard()
        page.choose(image).answered(image.name)
        page["copy"].click()
        page.until(lambda: page["copied"].text == "Copied")
        command = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
        assert command == page["curl"].text
        done = subprocess.run(["sh", "-c", command], cwd=image.parent, capture_output=True, check=True, timeout=30)
        answer = json.loads(done.stdout)
        names = [entry["label"] for entry in (answer["classes"] if kind == "masks" else answer)]
        assert names == page.texts("#classes .name" if kind == "masks" else "#bars .name")

    def test_a_command_is_there_before_any_image(self, labels: Page) -> None:
        assert f"{labels.url}/invocations" in labels["curl"].text


class TestErrors:
    def test_a_broken_file_is_reported_in_the_server_s_words(self, masks: Page, image: Path, rgb: np.ndarray) -> None:
        masks.choose(image).answered(image.name)
        broken = image.with_name("broken.jpg")
        broken.write_bytes(encode(rgb, "JPEG")[:-400])
        refusal = requests.post(f"{masks.url}/invocations", broken.read_bytes(), timeout=READY_LIMIT)
        assert masks.choose(broken).refused("broken.jpg") == refusal.json()["error"]
        assert masks["code"].text == "broken.jpg · HTTP 400"
        assert not masks["masks"].is_displayed(), "an answer to another image"
        assert not masks["again"].is_displayed(), "the same file would fail again"
        masks.choose(image).answered(image.name)
        assert not masks["error"].is_displayed()

    def test_a_file_that_is_no_image(self, labels: Page, folder: Path) -> None:
        text = folder / "notes.txt"
        text.write_text("no image")
        assert "Content-Type: text/plain is not supported" in labels.choose(text).refused("notes.txt")

    def test_an_image_that_is_too_large_is_made_smaller_only_on_request(self, masks: Page, folder: Path) -> None:
        noise = folder / "noise.png"
        noise.write_bytes(encode(np.random.default_rng(1).integers(0, 256, (700, 700, 3), dtype=np.uint8)))
        assert "over the limit of 1,048,576 bytes" in masks.choose(noise).refused("noise.png")
        masks["smaller"].click()
        masks.answered("noise-small.jpg")
        assert "noise-small.jpg · a smaller copy · 700 × 700" in masks.said()
        assert not masks["error"].is_displayed()

    def test_a_folder_is_no_image(self, labels: Page, folder: Path) -> None:
        assert "cannot be read. Is it a folder" in labels.drop(folder).refused(folder.name)
