"""Whether a JPEG file holds all of its compressed pixels.

libjpeg puts one grey in place of missing pixels, or what earlier scans of a progressive file have sent. It only counts
a warning, which neither OpenCV nor Pillow reports. Most checks read the segments of the file and do not decode it.
Source: ITU-T T.81, annexes B (segments), F (sequential) and G (progressive).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import JpegImagePlugin

# A marker that is neither padding, nor a stuffed 0xFF, nor a restart marker within the pixels.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_SOI, _EOI, _SOS, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
CHECKED = _SEQUENTIAL + _PROGRESSIVE  # with Huffman codes; others are rare
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

MAX_SEGMENTS = 10_000
MAX_SCANS = 500

_MISSING_GREY = 128
_NO_UNITS = np.empty(0, np.int64)

# Any bytes without 0xFF: read as compressed pixels they are an image that is not plain grey.
_FILLING = bytes((index * 73 + 41) % 255 for index in range(512))


@dataclass(frozen=True)
class Scan:
    """Compressed pixels, data[start:stop].

    components: (identifier, shortest DC code, shortest AC code in bits) of each.
    first, last, high, low: the coefficients and their bits, Ss, Se, Ah and Al.
    """

    start: int
    stop: int
    components: tuple[tuple[int, int, int], ...]
    first: int
    last: int
    high: int
    low: int
    restart_interval: int


@dataclass
class Structure:
    """The frame and the scans of a file. frame: the marker's code; sampling: identifier → (h, v)."""

    frame: int = 0
    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    scans: list[Scan] = field(default_factory=list)
    ended: bool = False

    @property
    def is_sequential(self) -> bool:
        return self.frame in _SEQUENTIAL

    @property
    def has_one_scan(self) -> bool:
        return len(self.scans) == 1


def read_structure(data: bytes) -> Structure:
    """The segments up to the end-of-image marker.

    Raises ValueError if there are more than `MAX_SEGMENTS` or `MAX_SCANS`, and struct.error, IndexError for damaged
    segments.
    """
    found = Structure()
    shortest: dict[int, int] = {}
    restart_interval = 0
    scan_header: tuple[int, int] | None = None
    for number, (marker, position, start, stop) in enumerate(_segments(data)):
        if number > MAX_SEGMENTS:
            raise ValueError(f"it has more than {MAX_SEGMENTS:,} segments")
        if scan_header is not None:
            begin, length = scan_header
            found.scans.append(
                _read_scan(data[begin : begin + length], begin + length, position, shortest, restart_interval)
            )
            scan_header = None
        if marker == _EOI:
            found.ended = True
        elif marker == _SOS:
            scan_header = (start, stop - start)
            if len(found.scans) >= MAX_SCANS:
                raise ValueError(f"it has more than {MAX_SCANS} scans")
        elif marker == _DHT:
            shortest |= _shortest_codes(data[start:stop])
        elif marker == _DRI:
            (restart_interval,) = struct.unpack_from(">H", data, start)
        elif marker in _FRAMES and not found.frame:
            found.frame = marker
            found.height, found.width, count = struct.unpack_from(">HHB", data, start + 1)
            for each in range(count):
                identifier, factors = data[start + 6 + 3 * each], data[start + 7 + 3 * each]
                found.sampling[identifier] = (factors >> 4, factors & 15)
    return found


def has_end(data: bytes) -> bool:
    """Whether the end-of-image marker follows the pixels of the image itself."""
    return any(marker == _EOI for marker, *_ in _segments(data))


def missing_data(found: Structure, data: bytes) -> str | None:
    """What is missing, if the segments alone show it: a scan that is too short for its pixels, or a scan at all."""
    if found.frame not in CHECKED or not all(h and v for h, v in found.sampling.values()):
        return None
    if not found.scans:
        return "it has no pixels"
    for scan in found.scans:
        units, blocks = _units(found, scan)
        if (scan.stop - scan.start) * 8 < units * _fewest_bits(found, scan, blocks):
            return f"its {scan.stop - scan.start:,} bytes of pixels are too few for {found.width} × {found.height}"
        if (
            scan.restart_interval
            and len(_RESTART.findall(data, scan.start, scan.stop)) < (units - 1) // scan.restart_interval
        ):
            return "a part of its pixels is missing"
    complete = _all_bits_sent(found) if found.frame in _PROGRESSIVE else _all_components_sent(found)
    return None if complete else "some of its scans are missing"


def is_complete(data: bytes, segments: Structure, pixels: np.ndarray | None = None) -> bool:
    """Whether no pixels are missing.

    A single scan is complete if its last pixel, and the last ones before its restart markers, have another colour than
    missing ones. Otherwise the file is decoded with more bytes after its pixels, which change the image only if pixels
    are missing: at an eighth of its size, but for progressive files, of which that size shows the first scans alone.

    pixels: uint8 [H, W, 3] or [H, W], decoded, if they are known.
    """
    if segments.frame not in CHECKED:
        return True
    if not segments.is_sequential:
        decoded = _decode(with_filling(data, segments))
        # Once more, if they differ: another decoder than Pillow may have made the pixels.
        is_same = pixels is not None and np.array_equal(decoded, pixels)
        return is_same or np.array_equal(decoded, _decode(data))
    if pixels is not None and segments.has_one_scan:
        ends = pixels[ends_of_intervals(segments)].reshape(-1, pixels[0, 0].size)
        if np.any(ends != _MISSING_GREY, axis=1).all():
            return True
    return np.array_equal(_decode_small(data), _decode_small(with_filling(data, segments)))


def with_filling(data: bytes, found: Structure) -> bytes:
    """The file with more bytes after the pixels of each scan, and before each restart marker in it.

    A decoder ignores them if the pixels are complete. If not, it decodes them, and the image is another one.
    """
    pieces, position = [], 0
    for scan in found.scans:
        restarts = _RESTART.finditer(data, scan.start, scan.stop) if scan.restart_interval else ()
        for end in [*(marker.start() for marker in restarts), scan.stop]:
            stop = end
            while stop > max(scan.start, position) and data[stop - 1] == 0xFF:  # padding before the marker
                stop -= 1
            pieces += [data[position:stop], _FILLING]
            position = stop
    return b"".join([*pieces, data[position:]])


def ends_of_intervals(found: Structure) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns of pixels in the last unit before each restart marker, and the image's last pixel.

    For files with one scan.
    """
    (scan,) = found.scans
    widest, tallest = _largest_factors(found) if len(scan.components) > 1 else (1, 1)
    units, _ = _units(found, scan)
    across = -(-found.width // (8 * widest))
    last = np.arange(scan.restart_interval, units, scan.restart_interval) - 1 if scan.restart_interval else _NO_UNITS
    rows, columns = 8 * tallest * (last // across) + 4 * tallest, 8 * widest * (last % across) + 4 * widest
    return (
        np.append(np.minimum(rows, found.height - 1), found.height - 1),
        np.append(np.minimum(columns, found.width - 1), found.width - 1),
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Marker, its position, and the content from start to stop, up to the end of the image or of the file.

    To check only the last two bytes would refuse good files with bytes after their end, and would accept the end of an
    embedded thumbnail as the image's own.
    """
    position = 2
    while match := _MARKER.search(data, position):
        marker = match[1][0]
        if marker == _EOI:
            yield marker, match.start(), match.end(), match.end()
            return
        if marker == _SOI or len(data) < match.end() + 2:
            return
        position = match.end() + int(struct.unpack_from(">H", data, match.end())[0])
        yield marker, match.start(), match.end() + 2, position


def _read_scan(header: bytes, start: int, stop: int, shortest: dict[int, int], restart_interval: int) -> Scan:
    count = header[0]
    if not count:
        raise ValueError("one of its scans has no components")
    components = []
    for each in range(count):
        identifier, tables = header[1 + 2 * each], header[2 + 2 * each]
        components.append((identifier, shortest.get(tables >> 4, 1), shortest.get(16 | (tables & 15), 1)))
    first, last, bits = header[1 + 2 * count : 4 + 2 * count]
    return Scan(start, stop, tuple(components), first, last, bits >> 4, bits & 15, restart_interval)


def _shortest_codes(content: bytes) -> dict[int, int]:
    """The length of the shortest code of each table, by the table's class × 16 + its number."""
    lengths = {}
    position = 0
    while position + 17 <= len(content):
        counts = content[position + 1 : position + 17]
        lengths[content[position]] = next((length for length, count in enumerate(counts, start=1) if count), 1)
        position += 17 + sum(counts)
    return lengths


def _units(found: Structure, scan: Scan) -> tuple[int, list[int]]:
    """The number of minimum coded units of a scan, and the blocks of each component in one (T.81, A.2)."""
    widest, tallest = _largest_factors(found)
    if len(scan.components) > 1:
        units = -(-found.width // (8 * widest)) * -(-found.height // (8 * tallest))
        return units, [h * v for h, v in (found.sampling.get(name, (1, 1)) for name, _, _ in scan.components)]
    h, v = found.sampling.get(scan.components[0][0], (1, 1))
    columns, rows = -(-found.width * h // widest), -(-found.height * v // tallest)
    return -(-columns // 8) * -(-rows // 8), [1]


def _largest_factors(found: Structure) -> tuple[int, int]:
    return max(h for h, _ in found.sampling.values()), max(v for _, v in found.sampling.values())


def _fewest_bits(found: Structure, scan: Scan, blocks: list[int]) -> int:
    """The fewest bits that a unit can take: one DC code, and in sequential files one AC code, for each block."""
    if found.frame in _SEQUENTIAL:
        return sum(count * (dc + ac) for count, (_, dc, ac) in zip(blocks, scan.components, strict=True))
    if scan.first > 0:
        return 0  # one code may stand for 32,767 blocks without coefficients
    return sum(count * (1 if scan.high else dc) for count, (_, dc, _) in zip(blocks, scan.components, strict=True))


def _all_components_sent(found: Structure) -> bool:
    return {name for scan in found.scans for name, _, _ in scan.components} >= found.sampling.keys()


def _all_bits_sent(found: Structure) -> bool:
    """Whether the scans of a progressive file follow from each other and send all coefficients to the last bit."""
    sent = {name: [-1] * 64 for name in found.sampling}
    for scan in found.scans:
        for name, _, _ in scan.components:
            bits = sent.get(name, [])
            for index in range(scan.first, min(scan.last + 1, len(bits))):
                if scan.high != max(bits[index], 0):
                    return False
                bits[index] = scan.low
    return all(bit == 0 for bits in sent.values() for bit in bits)


def _decode(data: bytes) -> np.ndarray:
    """By Pillow: OpenCV would print a warning about the filling."""
    return np.asarray(JpegImagePlugin.JpegImageFile(io.BytesIO(data)))


def _decode_small(data: bytes) -> np.ndarray:
    """At an eighth of the width and the height, the smallest that libjpeg decodes to."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    image.draft(image.mode, (1, 1))
    return np.asarray(image)
