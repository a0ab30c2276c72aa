"""What a process may use of its machine, and the threads that come of it."""

import os
from pathlib import Path

import pytest

from lockstep.cli.worker import arguments
from lockstep.errors import InvalidSettings
from lockstep.machine import Automatic, Machine
from lockstep.settings import Settings

GIB = 1 << 30


def load(**environment: str) -> Settings:
    return Settings.load(environment, env_file="")


@pytest.mark.parametrize(
    ("cpus", "memory", "processes", "threads"),
    [
        (2, 8 * GIB, 1, 8),
        (2, 8 * GIB, 2, 4),
        (1.5, 8 * GIB, 1, 6),
        (0.25, 8 * GIB, 1, 1),
        (3, 8 * GIB, 7, 2),  # rounded up
        (2, GIB // 2, 1, 6),  # (512 - 128) / 64
        (2, GIB // 2, 2, 2),  # (256 - 128) / 64
        (2, GIB // 16, 1, 1),
        (256, 512 * GIB, 1, 64),
        (2, None, 1, 8),
    ],
)
def test_threads(cpus: float, memory: int | None, processes: int, threads: int) -> None:
    assert Machine(cpus, memory).threads(processes) == threads


def read(directory: Path, own: str, **files: str) -> Machine:
    """The machine as a process of the group ``own`` sees it; files are named GROUP__FILE."""
    for name, text in files.items():
        group, _, file = name.rpartition("__")
        path = directory / "cgroup" / group.replace("__", "/") / file.replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (directory / "own").write_text(own)
    return Machine.read(cgroups=directory / "cgroup", own=directory / "own")


def test_without_control_groups_it_is_the_machine(tmp_path: Path) -> None:
    bare = Machine.read(cgroups=tmp_path, own=tmp_path / "none")
    assert bare.cpus == len(os.sched_getaffinity(0))
    assert bare.memory == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert read(tmp_path, "0::/\n", cpu_max="max 100000", memory_max="max") == bare
    assert read(tmp_path, "1:cpu:/\n", cpu_max="50000 100000") == bare  # version 1


def test_the_control_group_counts(tmp_path: Path) -> None:
    machine = read(tmp_path, "1:x:/\n0::/\n", cpu_max="50000 100000", memory_max=str(GIB // 4))
    assert machine == Machine(0.5, GIB // 4)


def test_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    machine = read(
        tmp_path,
        "0::/slice/pod/box\n",
        slice__pod__box__cpu_max="max 100000",
        slice__pod__box__memory_max="max",
        slice__pod__cpu_max="20000 100000",
        slice__cpu_max="80000 100000",
        slice__memory_max=str(GIB // 8),
    )
    assert machine == Machine(0.2, GIB // 8)


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    bare = Machine.read(cgroups=tmp_path, own=tmp_path / "none")
    assert read(tmp_path, "0::/\n", cpu_max="1 0", memory_max="") == bare
    assert read(tmp_path, "0::/\n", cpu_max="many", memory_max="lots") == bare


def test_auto_is_resolved_when_settings_are_read_and_shown_as_such() -> None:
    settings = load(WORKER_CONCURRENCY="auto", WORKER_PROCESSES="2")
    threads = Machine.read().threads(2)
    assert settings.worker_concurrency == threads
    assert isinstance(settings.worker_concurrency, Automatic)
    assert settings.masked()["WORKER_CONCURRENCY"] == f"auto ({threads})"
    assert f"--threads={threads}" in arguments(settings)


def test_a_number_stays_one() -> None:
    assert load(WORKER_CONCURRENCY="7").masked()["WORKER_CONCURRENCY"] == "7"
    with pytest.raises(InvalidSettings, match="WORKER_CONCURRENCY: expected a number of threads or auto"):
        load(WORKER_CONCURRENCY="some")
    with pytest.raises(InvalidSettings, match="expected 1 to 1024"):
        load(WORKER_CONCURRENCY="0")
