"""Deploys and rollbacks that change nothing: what fails before the switch, and what is refused at once."""

import fcntl
import subprocess
from collections.abc import Iterator

import pytest

from tests.ops.deployed import ROOT, SCRIPTS, Deployment, deployed
from tests.support.waiting import PATIENCE


@pytest.fixture
def deployment(redis_url: str) -> Iterator[Deployment]:
    with deployed(redis_url) as (deployment, _):
        yield deployment


def test_what_fails_before_the_switch_leaves_nothing(deployment: Deployment) -> None:
    environment = (deployment.home / ".env").read_text()
    with (deployment.home / ".env").open("a") as settings:
        settings.write("REDIS_URL=redis://127.0.0.1:1\nDEPLOY_NOTIFY_DSN=json://127.0.0.1:1\n")
    source = deployment.source("one")

    code, told = deployment.run("deploy", str(source), "--release", "one", "--start")

    assert code == 1, told
    assert "`lockstep setup` of one ended with 4" in told
    assert "the notice was not taken" in told
    assert not (deployment.home / "current").is_symlink()
    assert list((deployment.home / "releases").iterdir()) == []

    # Its release has no supervisord of its own, so nothing starts.
    (deployment.home / ".env").write_text(environment)
    code, told = deployment.run("deploy", str(source), "--release", "one", "--start")
    assert code == 3, told
    assert "supervisord ended with" in told
    assert "no release is current, as before; what was started is stopped" in told
    assert not (deployment.home / "current").is_symlink()
    assert deployment.pids() == []
    assert set(deployment.releases()) == {"one"}

    (source / "setup.cfg").write_text("[metadata]\nname = lockstep\nversion = none\n")
    code, told = deployment.run("deploy", str(source), "--release", "one")
    assert code == 1, told
    assert list((deployment.home / "releases").iterdir()) == []


def test_one_at_a_time(deployment: Deployment) -> None:
    (deployment.home / "releases").mkdir()
    with (deployment.home / "deploy.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (("deploy", str(ROOT)), ("rollback", "--to", "one")):
            code, told = deployment.run(*command)
            assert (code, "another deploy or rollback runs" in told) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("deploy", "/"), 2, "/ is no source tree of Lockstep"),
        (("deploy", str(ROOT), "--release", "../one"), 2, "expected a name"),
        (("rollback",), 2, "has no releases"),
    ],
)
def test_what_cannot_be_is_refused(
    deployment: Deployment, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, told = deployment.run(*arguments)

    assert (ended, said in told) == (code, True), told
    assert "Traceback" not in told
    assert [path.name for path in deployment.home.iterdir()] == [".env"]


def test_a_rollback_needs_a_release(deployment: Deployment) -> None:
    (deployment.home / "releases").mkdir()
    for arguments, code, said in (
        (("rollback",), 2, "there is no former release"),
        (("rollback", "--to", "none"), 1, "no release 'none'"),
        (("rollback", "--to", ""), 1, "no release ''"),
    ):
        ended, told = deployment.run(*arguments)
        assert (ended, said in told) == (code, True), told


def test_a_source_tree_is_no_home() -> None:
    ended = subprocess.run(
        [SCRIPTS / "lockstep", "deploy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, "name the directory of the deployment" in ended.stderr) == (2, True)
    assert not (ROOT / "releases").exists()
