"""Entries that are whole or not there, whatever happens to the processes, the files and the disk."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.disks import files_of_at_most
from support.filling import ORIGINAL, content, fill, get, put, unchanged

from byoc_vision.data.cache.store import RecordStore

NOW, EARLIER = 2, 1


def never() -> int:
    raise AssertionError("what this job wrote is not compared with its original")


def open_store(folder: Path, entries: int = 8, capacity: int = 10_000, generation: int = NOW) -> RecordStore:
    return RecordStore(folder, entries, capacity, generation)


def test_an_entry_comes_back_to_every_process(tmp_path: Path) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    assert get(store, 3) is None
    assert put(store, 3, content(3))
    assert get(store, 3, never) == get(other, 3, never) == content(3)
    assert get(store, 2) is None


def test_what_is_read_may_be_written_to(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, 0, content(0))
    found = store.get(0, never)
    assert found is not None
    found[:] = 0
    assert get(store, 0) == content(0)


def test_a_later_job_goes_on_with_what_is_unchanged(tmp_path: Path) -> None:
    earlier = open_store(tmp_path, generation=EARLIER)
    put(earlier, 0, content(0))
    put(earlier, 1, content(1))
    later = open_store(tmp_path)
    assert get(later, 0, unchanged) == content(0)
    assert get(later, 0, never) == content(0), "it is compared once"
    assert get(later, 1, lambda: ORIGINAL + 1) is None
    put(later, 1, content(11))
    assert get(later, 1, never) == content(11)


def test_another_number_of_entries_begins_anew(tmp_path: Path) -> None:
    put(open_store(tmp_path), 0, content(0))
    store = open_store(tmp_path, entries=9)
    assert get(store, 0) is None
    assert store.used == 0


class TestTorn:
    """Files as crashes leave them."""

    @pytest.mark.parametrize("lost", [1, 499])
    def test_a_content_that_did_not_reach_the_disk(self, tmp_path: Path, lost: int) -> None:
        put(open_store(tmp_path, generation=EARLIER), 0, content(0))
        data = tmp_path / "data"
        whole = data.read_bytes()
        data.write_bytes(whole[:-lost])
        assert get(open_store(tmp_path), 0) is None
        data.write_bytes(whole[:-lost] + bytes(lost))
        assert get(open_store(tmp_path), 0) is None
        data.write_bytes(whole)
        assert get(open_store(tmp_path), 0) == content(0)

    def test_a_shortened_file_under_the_running_job(self, tmp_path: Path) -> None:
        store = open_store(tmp_path)
        put(store, 0, content(0))
        (tmp_path / "data").write_bytes(content(0)[:100])
        assert get(store, 0) is None
        assert put(store, 0, content(0))
        assert get(store, 0) == content(0)

    @settings(max_examples=60)
    @given(place=st.integers(0, 8 * 48), value=st.integers(1, 255))
    def test_any_changed_byte_of_the_index(
        self, tmp_path_factory: pytest.TempPathFactory, place: int, value: int
    ) -> None:
        folder = tmp_path_factory.mktemp("torn")
        earlier = open_store(folder, entries=4, generation=EARLIER)
        for entry in range(4):
            put(earlier, entry, content(entry))
        index = bytearray((folder / "index").read_bytes())
        index[place % len(index)] ^= value
        (folder / "index").write_bytes(index)
        later = open_store(folder, entries=4)
        found = [get(later, entry) for entry in range(4)]
        assert all(one in (None, content(entry)) for entry, one in enumerate(found))
        later.close()
        earlier.close()

    @pytest.mark.parametrize("length", [0, 7, 40, 100])
    def test_an_index_that_is_cut_short(self, tmp_path: Path, length: int) -> None:
        put(open_store(tmp_path), 7, content(0))
        index = tmp_path / "index"
        index.write_bytes(index.read_bytes()[:length])
        store = open_store(tmp_path)
        assert get(store, 7) is None
        assert put(store, 7, content(0))
        assert get(store, 7) == content(0)


class TestRoom:
    def test_no_more_is_stored_than_may_be(self, tmp_path: Path) -> None:
        store = open_store(tmp_path, capacity=1_200)
        assert [put(store, entry, content(entry)) for entry in range(4)] == [True, True, False, False]
        assert not store.has_room
        assert store.used == (tmp_path / "data").stat().st_size == 1_000
        assert [get(store, entry) for entry in range(4)] == [content(0), content(1), None, None]

    def test_a_later_job_may_have_more(self, tmp_path: Path) -> None:
        earlier = open_store(tmp_path, capacity=600, generation=EARLIER)
        assert [put(earlier, entry, content(entry)) for entry in range(2)] == [True, False]
        later = open_store(tmp_path, capacity=1_000)
        assert put(later, 1, content(1))
        assert [get(later, entry) for entry in range(2)] == [content(0), content(1)]

    def test_a_full_disk_ends_the_storing_with_one_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, other = open_store(tmp_path), open_store(tmp_path)
        with files_of_at_most(1_200):
            assert [put(store, entry, content(entry)) for entry in range(4)] == [True, True, False, False]
            assert not put(other, 4, content(4))
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert f"Cannot store more decoded images in {tmp_path} (File too large)" in caplog.text
        assert [get(other, entry) for entry in range(4)] == [content(0), content(1), None, None]


def test_two_processes_fill_it_at_once(tmp_path: Path) -> None:
    entries, rounds = 50, 600
    store = open_store(tmp_path, entries=entries, capacity=10**6)
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=fill, args=(store, rounds)) for _ in range(2)]
    for process in others:
        process.start()
    fill(store, rounds)
    for process in others:
        process.join()
    assert [process.exitcode for process in others] == [0, 0]
    assert [get(store, entry, never) for entry in range(entries)] == [content(entry) for entry in range(entries)]
    later = open_store(tmp_path, entries=entries, capacity=10**6, generation=NOW + 1)
    assert [get(later, entry) for entry in range(entries)] == [content(entry) for entry in range(entries)]


def test_a_closed_store_has_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, 0, content(0))
    store.close()
    assert get(store, 0) is None
    assert not store.has_room


def test_it_may_be_sent_to_other_processes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, 0, content(0))
    assert get(pickle.loads(pickle.dumps(store)), 0, never) == content(0)
