"""Free memory, from made-up files of the kernel."""

from __future__ import annotations

from pathlib import Path

from byoc_vision.system.memory import free_memory

GIB = 2**30


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_memory_of_a_bare_machine(tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal:       24000000 kB\nMemAvailable:   20881428 kB\nHugePages_Total:       0\n")
    assert free_memory(facts, tmp_path) == 20_881_428 * 1024


def test_a_container_has_what_its_limit_leaves_and_its_files_give_up(tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text(f"MemAvailable: {20 * GIB // 1024} kB\n")
    group = write(
        tmp_path / "v2",
        memory_dot_max=f"{8 * GIB}\n",
        memory_dot_current=f"{5 * GIB}\n",
        memory_dot_stat=f"anon 9\nfile_mapped {GIB}\ninactive_file {GIB}\nactive_file {2 * GIB}\n",
    )
    assert free_memory(facts, group) == 5 * GIB
    write(group, memory_dot_max="max\n")
    assert free_memory(facts, group) == 20 * GIB
    older = write(
        tmp_path / "v1",
        memory__memory_dot_limit_in_bytes=f"{4 * GIB}\n",
        memory__memory_dot_usage_in_bytes=f"{3 * GIB}\n",
        memory__memory_dot_stat=f"inactive_file 1\ntotal_inactive_file {GIB}\n",
    )
    assert free_memory(facts, older) == 2 * GIB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") is None
