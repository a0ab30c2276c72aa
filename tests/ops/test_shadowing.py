"""A module of a user with the name of one of our packages: it is named, never executed, and nothing starts."""

import base64
import hashlib
import importlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lockstep import shadowing
from lockstep.errors import ImportFailed, LockstepError, Shadowed, exit_code
from lockstep.modules import check_actor_modules, import_actors
from lockstep.settings import Settings
from lockstep.shadowing import OWN, add_working_directory, check_own_packages
from tests.support.waiting import LONG_COMMAND

COMMAND = [sys.executable, "-c", "from lockstep.cli import main; main()"]
#: A plain Dramatiq project, which leaves a trace when it is executed.
TRACE = "import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"
EXTENSION = sysconfig.get_config_var("EXT_SUFFIX")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def first_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py", "{}.pyc", f"{{}}{EXTENSION}"])
def test_whatever_an_import_would_find_is_named(first_on_path: Path, name: str, file: str) -> None:
    shadow = first_on_path / file.format(name)
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text(TRACE)
    importlib.invalidate_caches()

    with pytest.raises(Shadowed) as refused:
        check_own_packages()

    assert f"{shadow} would be imported as {name!r}" in str(refused.value)
    assert exit_code(refused.value) == 2
    assert not list(first_on_path.rglob("executed"))


def test_ours_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_own_packages()
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    monkeypatch.syspath_prepend(str(link))  # a checkout that is reached on another way
    check_own_packages()


def test_another_checkout_comes_after_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in OWN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(TRACE)
    monkeypatch.chdir(tmp_path)

    add_working_directory()

    assert sys.path[-1] == str(tmp_path)
    check_own_packages()


@pytest.mark.parametrize("file", ["__init__.py", "settled.py", "api/listed.py"])
def test_a_file_that_another_package_overwrote_is_named(
    first_on_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    names = ["__init__.py", "settled.py", "api/listed.py"]
    _install(first_on_path, "lockstep", [f"{package}/{name}" for package in OWN for name in names])
    monkeypatch.setattr(shadowing, "_ROOT", first_on_path)
    importlib.invalidate_caches()
    (first_on_path / "web" / "settled.py").write_text("# edited in place, which nobody else claims\n")
    check_own_packages()

    _install(first_on_path, "other", [f"middleware/{file}"])
    with pytest.raises(Shadowed) as refused:
        check_own_packages()

    told = f"{first_on_path / 'middleware' / file} was overwritten by the package 'other'"
    assert str(refused.value).startswith(told)


def _install(place: Path, name: str, files: list[str]) -> None:
    """Put files where a package would, with its metadata."""
    record = []
    for file in files:
        content = f"# {file} of {name}\n".encode()
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{file},sha256={digest},{len(content)}\n")
    info = place / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "RECORD").write_text("".join(record))


def test_no_module_of_the_user_may_be_one_of_our_packages() -> None:
    for name in OWN:
        with pytest.raises(LockstepError, match=f"ACTOR_MODULES: '{name}' is a package of Lockstep"):
            check_actor_modules(Settings.load({"ACTOR_MODULES": f"json,{name}"}, env_file=""))


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["worker"], "actors.py"),
        (["up"], "web/views.py"),  # without __init__: before the finder of an editable installation
        (["supervisor"], "middleware/__init__.py"),
        (["deploy", "."], "actors/tasks.py"),
        (["verify"], "web.py"),
    ],
)
def test_nothing_starts(tmp_path: Path, command: list[str], file: str) -> None:
    shadow = tmp_path / file
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text(TRACE)

    ended = _run(tmp_path, *command)

    named = shadow if shadow.parent == tmp_path or shadow.stem == "__init__" else shadow.parent
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert f"lockstep: {named} would be imported as" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.rglob("executed"))
    assert not (tmp_path / "data").exists()


def test_a_directory_of_the_python_path_counts(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "actors.py").write_text(TRACE)

    ended = _run(tmp_path, "scheduler", PYTHONPATH=str(tmp_path / "elsewhere"))

    assert (ended.returncode, "elsewhere/actors.py would be imported" in ended.stderr) == (2, True)


@pytest.mark.parametrize("command", ["worker", "scheduler", "web"])
def test_another_broker_in_place_of_ours_is_refused(tmp_path: Path, redis_url: str, command: str) -> None:
    (tmp_path / "tasks.py").write_text(
        "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\ndramatiq.set_broker(StubBroker())\n"
    )

    ended = _run(
        tmp_path, command, ACTOR_MODULES="tasks", REDIS_URL=redis_url, WORKER_PROCESSES="1", PORT="0"
    )

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "lockstep: tasks put another broker in place of Lockstep's" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_actor_with_an_option_that_cannot_work_is_named_with_its_line(
    first_on_path: Path, redis_url: str
) -> None:
    (first_on_path / "wrong.py").write_text(
        "import dramatiq\n\n\n@dramatiq.actor(periodic='@reboot')\ndef f(): ...\n"
    )

    ended = _run(first_on_path, "send", "f", ACTOR_MODULES="wrong", REDIS_URL=redis_url)

    assert ended.returncode == exit_code(ImportFailed()) == 2
    assert "wrong.py, line 4: f: periodic: periodiq cannot read '@reboot'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_actors_are_ours() -> None:
    assert Path(import_actors().__file__ or "").parent == ROOT / "actors"


def _run(directory: Path, *command: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *command],
        cwd=directory,
        env={**os.environ, **changes},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG_COMMAND,
        check=False,
    )
