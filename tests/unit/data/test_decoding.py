"""Reading images: every kind, every orientation, and sizes that are refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.images import draw_smooth, encode, handmade_png, heic_ramp

from byoc_vision.data.decoding import ImageTooLarge, read_image, read_mask
from byoc_vision.errors import DataError

ORIENTATION = 274

# Pillow warns of damaged metadata (EXIF, TIFF tags) before it reads on or gives up.
tolerate_warnings = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        ("kind", "mode"),
        [
            ("JPEG", "RGB"),
            ("JPEG", "L"),
            ("JPEG", "CMYK"),
            ("PNG", "RGB"),
            ("PNG", "P"),
            ("PNG", "1"),
            ("WebP", "RGB"),
            ("TIFF", "RGB"),
            ("TIFF", "L"),
        ],
    )
    def test_images_are_upright_by_either_decoder(self, kind: str, mode: str, orientation: int) -> None:
        options = {"lossless": True} if kind == "WebP" else {}
        data = encode(Image.fromarray(draw_smooth()).convert(mode), kind, exif=exif(orientation), **options)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert upright.size == ((56, 40) if orientation < 5 else (40, 56))
        np.testing.assert_array_equal(read_image(data), np.asarray(upright.convert("RGB")))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_transparent_images_too(self, orientation: int) -> None:
        rgba = np.dstack([draw_smooth(), np.full((40, 56), 255, np.uint8)])
        expected = read_image(encode(draw_smooth(), "PNG", exif=exif(orientation)))
        np.testing.assert_array_equal(read_image(encode(rgba, "PNG", exif=exif(orientation))), expected)

    def test_a_png_may_name_it_behind_its_pixels(self) -> None:
        rows = bytes([0, 10, 20, 30])
        data = handmade_png((3, 1, 8, 0), rows, (b"eXIf", exif(6).removeprefix(b"Exif\0\0")))
        np.testing.assert_array_equal(read_image(data)[:, :, 0], [[10], [20], [30]])

    @tolerate_warnings
    @pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense"])
    def test_broken_notes_of_the_camera_do_not_matter(self, block: bytes) -> None:
        plain = encode(draw_smooth(), "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        np.testing.assert_array_equal(read_image(plain[:2] + segment + plain[2:]), read_image(plain))

    @pytest.mark.parametrize("orientation", [0, 9, 4711])
    def test_orientations_that_do_not_exist_are_passed_over(self, orientation: int) -> None:
        image = read_image(encode(draw_smooth(), "JPEG", exif=exif(orientation)))
        np.testing.assert_array_equal(image, read_image(encode(draw_smooth(), "JPEG")))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_mask_is_what_a_viewer_shows(self, tmp_path: Path, orientation: int) -> None:
        labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
        path = tmp_path / "mask.png"
        path.write_bytes(encode(labels, "PNG", exif=exif(orientation)))
        np.testing.assert_array_equal(read_mask(path), np.asarray(ImageOps.exif_transpose(Image.open(path))))


class TestKindsOfImages:
    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WebP"])
    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_lossless_kinds_keep_every_pixel(self, kind: str, mode: str) -> None:
        image = Image.fromarray(draw_smooth()).convert(mode)
        options = {"lossless": True} if kind == "WebP" else {}
        np.testing.assert_array_equal(read_image(encode(image, kind, **options)), np.asarray(image.convert("RGB")))

    @pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
    def test_images_of_phones(self, kind: str) -> None:
        y, x = np.mgrid[:48, :64]
        ramp = np.stack([x * 4, y * 5, 255 - x * 2 - y * 2], axis=-1).astype(np.uint8)
        image = read_image(heic_ramp() if kind == "HEIC" else encode(ramp, "AVIF", quality=90))
        assert image.dtype == np.uint8
        assert np.abs(image.astype(int) - ramp).max() < 16

    def test_an_avif_is_turned_by_its_orientation(self) -> None:
        """It has no EXIF block of its own: the container turns it."""
        data = encode(draw_smooth(), "AVIF", quality=100, exif=exif(6))
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(read_image(data), np.asarray(upright))
        assert read_image(data).shape[:2] == draw_smooth().shape[1::-1]

    def test_a_file_and_its_content_are_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.bin"  # the ending does not matter
        path.write_bytes(encode(draw_smooth(), "JPEG"))
        np.testing.assert_array_equal(read_image(path), read_image(path.read_bytes()))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
    def test_the_result_is_a_plain_array_of_its_own(self, kind: str) -> None:
        image = read_image(encode(draw_smooth(), kind))
        assert image.dtype == np.uint8
        assert image.shape == (40, 56, 3)
        assert image.flags.c_contiguous
        assert image.flags.writeable

    @pytest.mark.parametrize("kind", ["PNG", "WebP", "TIFF"])
    def test_transparent_parts_are_white(self, kind: str) -> None:
        rgba = np.zeros((4, 6, 4), np.uint8)
        rgba[:, :3] = (10, 200, 30, 255)
        rgba[:, 3:] = (77, 77, 77, 0)
        image = read_image(encode(rgba, kind, **({"lossless": True} if kind == "WebP" else {})))
        assert (image[:, :3] == (10, 200, 30)).all()
        assert (image[:, 3:] == 255).all()

    def test_half_transparent_parts_are_mixed_with_white(self) -> None:
        assert read_image(encode(np.full((2, 2, 4), (0, 0, 0, 128), np.uint8), "PNG")) == pytest.approx(127, abs=1)

    @pytest.mark.parametrize("mode", ["LA", "P"])
    def test_grey_and_palette_may_be_transparent(self, mode: str) -> None:
        image = Image.new(mode, (4, 4), (0, 0) if mode == "LA" else 0)
        options = {"transparency": 0} if mode == "P" else {}
        assert (read_image(encode(image, "PNG", **options)) == 255).all()

    def test_a_transparent_colour_without_an_alpha_channel(self) -> None:
        pixels = np.full((4, 4, 3), 9, np.uint8)
        pixels[:2] = (1, 2, 3)
        image = read_image(encode(pixels, "PNG", transparency=(1, 2, 3)))
        assert (image[:2] == 255).all()
        assert (image[2:] == 9).all()

    def test_palettes_become_colours(self) -> None:
        image = Image.fromarray(draw_smooth()).quantize(64)
        for kind in ("PNG", "GIF", "BMP", "TIFF"):
            np.testing.assert_array_equal(read_image(encode(image, kind)), np.asarray(image.convert("RGB")))

    def test_one_bit_is_black_and_white(self) -> None:
        image = read_image(encode(Image.fromarray(np.array([[True, False]])), "PNG"))
        assert image.tolist() == [[[255] * 3, [0] * 3]]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_sixteen_bits_grey_keep_the_upper_eight(self, kind: str) -> None:
        values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
        assert read_image(encode(values, kind))[0, :, 0].tolist() == [0, 0, 1, 128, 255]

    def test_sixteen_bits_colour_keep_the_upper_eight(self) -> None:
        rows = b"\0" + struct.pack(">6H", 0, 256, 511, 32768, 65535, 65280)
        assert read_image(handmade_png((2, 1, 16, 2), rows)).tolist() == [[[0, 1, 1], [128, 255, 255]]]

    @pytest.mark.parametrize(("values", "read"), [([0, 0.5, 1], [0, 128, 255]), ([0, 0.5, 200], [0, 0, 200])])
    def test_floats_count_to_one_or_to_255(self, values: list[float], read: list[int]) -> None:
        assert read_image(encode(np.array([values], np.float32), "TIFF"))[0, :, 1].tolist() == read

    @pytest.mark.parametrize("value", [-1, 256, np.nan, np.inf])
    def test_other_floats_are_refused(self, value: float) -> None:
        with pytest.raises(DataError, match="float values"):
            read_image(encode(np.array([[0, value]], np.float32), "TIFF"))

    def test_32_bit_integers_are_refused(self) -> None:
        with pytest.raises(DataError, match="32-bit values"):
            read_image(encode(np.array([[0, 70000]], np.int32), "TIFF"))

    def test_cmyk_is_converted(self) -> None:
        image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        red, green, blue = read_image(encode(image, "JPEG", quality=100))[4, 4].tolist()
        assert red > 240
        assert green < 20
        assert blue < 20

    def test_of_several_frames_the_first_is_read(self) -> None:
        frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
        for kind in ("GIF", "TIFF", "WebP", "PNG"):
            options = {"lossless": True} if kind == "WebP" else {}
            data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
            assert (read_image(data) == (255, 0, 0)).all(), kind


class TestSize:
    def test_the_size_of_a_heic_is_checked_before_decoding(self) -> None:
        with pytest.raises(ImageTooLarge, match="64 × 48 pixels, more than the 3,071 allowed"):
            read_image(heic_ramp(), max_pixels=48 * 64 - 1)

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG", "TIFF", "WebP", "AVIF"])
    def test_the_declared_size_is_checked_before_decoding(self, kind: str) -> None:
        data = encode(draw_smooth(), kind)
        with pytest.raises(ImageTooLarge, match=r"56 × 40 pixels, more than the 2,239 allowed"):
            read_image(data, max_pixels=40 * 56 - 1)
        assert read_image(data, max_pixels=40 * 56).shape == (40, 56, 3)

    def test_a_monster_of_a_few_bytes(self, tmp_path: Path) -> None:
        monster = handmade_png((60_000, 60_000, 8, 2), b"")
        with pytest.raises(ImageTooLarge, match="60000 × 60000"):
            read_image(monster)
        path = tmp_path / "mask.png"
        path.write_bytes(monster)
        with pytest.raises(ImageTooLarge, match=r"mask\.png"):
            read_mask(path)

    def test_a_monstrous_tiff(self) -> None:
        data = bytearray(encode(draw_smooth(), "TIFF"))
        for tag in (256, 257):
            at = data.index(struct.pack("<HHI", tag, 4, 1))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 60_000)
        with pytest.raises(ImageTooLarge):
            read_image(bytes(data))

    @pytest.mark.parametrize("colour_type", [4, 6])
    def test_transparent_pixels_count_with_the_memory_that_they_take(self, colour_type: int) -> None:
        with pytest.raises(ImageTooLarge, match=r"13000 × 13000 pixels .* over 1,073,741,824 bytes; save it as RGB"):
            read_image(handmade_png((13_000, 13_000, 8, colour_type), b""))
        with pytest.raises(DataError, match="damaged"):  # of a size that is decoded
            read_image(handmade_png((1_300, 1_300, 8, colour_type), b""))

    def test_a_gif_whose_frame_fills_next_to_nothing_of_its_size_is_refused(self) -> None:
        data = encode(np.zeros((60, 80, 3), np.uint8), "GIF")
        read_image(data)
        with pytest.raises(DataError, match=r"13000 × 13000 pixels, and its first frame has [\d,]+; save that"):
            read_image(data[:6] + struct.pack("<HH", 13_000, 13_000) + data[10:])


@pytest.mark.real_data
def test_real_images_and_masks(shared_data: Path) -> None:
    car = next((shared_data / "carvana" / "train").iterdir())
    assert read_image(car).shape == (1280, 1918, 3)
    mask = read_mask(shared_data / "carvana" / "train_masks" / f"{car.stem}_mask.gif")
    assert mask.shape == (1280, 1918)
    assert np.unique(mask).tolist() == [0, 1]
