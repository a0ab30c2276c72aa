"""The wheel, built from what the Dockerfile copies and installed elsewhere: every command finds what it needs in it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lockstep.deploying.source import Source
from tests.ops.test_up import free_port
from tests.support.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
PACKAGES = {"actors", "lockstep", "middleware", "web"}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory with a short path: supervisord's socket is in it."""
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory:
        yield Path(directory).resolve()


@pytest.fixture(scope="module")
def source(place: Path) -> Path:
    """What the Dockerfile copies, and nothing else: without it in the tree, nothing can be built by chance."""
    whole, copied = place / "whole", place / "copied"
    Source.of(ROOT).copy(whole)
    let_in = re.findall(r"^!(\S+)$", (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    for line in re.findall(
        r"^COPY (?!--from)(.+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE
    ):
        *names, target = line.split()
        for name in names:
            assert name in let_in
            origin, copy = whole / name, copied / target / ("" if (whole / name).is_dir() else name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, copy, symlinks=True)
            else:
                shutil.copy(origin, copy)
    return copied


@pytest.fixture(scope="module")
def wheel(place: Path, source: Path) -> Path:
    _call(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place / "wheels", source
    )
    (wheel,) = (place / "wheels").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def command(place: Path, wheel: Path) -> Path:
    """`lockstep` in an environment of its own, which borrows the libraries of this one, but not its Lockstep."""
    environment = place / "installed"
    _call(sys.executable, "-m", "venv", "--without-pip", environment)
    _call(sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-deps", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Appended by a line of code, so that no .pth of this environment is read, which would bring the checkout.
    borrowed = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
    (packages / "borrowed.pth").write_text(borrowed)
    return environment / "bin" / "lockstep"


def test_it_holds_our_packages_whole_and_nothing_else(wheel: Path, source: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert {name.partition("/")[0] for name in held} == PACKAGES  # no benchmarks, and never PyPI's supervisor
    files = (path.relative_to(source) for name in PACKAGES for path in (source / name).rglob("*"))
    expected = {str(path) for path in files if (source / path).is_file() and path.suffix != ".pyc"}
    assert held == expected
    with zipfile.ZipFile(wheel) as archive:
        config = archive.read("lockstep/supervision/supervisord.conf")
    assert config == (ROOT / "supervisor" / "supervisord.conf").read_bytes()


def test_everything_runs_in_an_empty_directory(place: Path, command: Path) -> None:
    directory = place / "empty"
    directory.mkdir()
    inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    environment = {**inherited, "PATH": os.defpath, "WEB_DRAIN_SECONDS": "0", "RELEASE": "wheel"}
    port, log = free_port(), directory / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [command, "up", "--port", str(port), "--workers", "1"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        told = lambda: log.read_text(errors="replace")  # noqa: E731
        wait_for(
            "it runs", lambda: "Ctrl-C stops everything" in told() or up.poll() is not None, 2 * PATIENCE
        )
        assert up.poll() is None, told()

        kwargs = {"instance_id": "i", "customer_id": "c", "body": "hello"}
        send = (command, "send", "messages.deliver", "--kwargs", json.dumps(kwargs), "--json")
        message = json.loads(_call(*send, cwd=directory, env=environment))["id"]
        url = f"http://127.0.0.1:{port}/api/v1/messages/{message}"
        wait_for("it is done", lambda: httpx.get(url, trust_env=False).json()["state"] == "done")
        assert "messages" in _call(command, "status", cwd=directory, env=environment)

        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE) == 0, told()
        assert "Traceback" not in told()
    finally:
        up.kill()
        up.wait()


def _call(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        list(map(str, arguments)), cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
