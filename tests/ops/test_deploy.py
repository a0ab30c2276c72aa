"""Releases of a real home: real installs, a real supervisord, deploys that end well, badly and half way."""

import httpx

from tests.ops.deployed import Clients, Deployment, Receiver, deployed


def test_releases_come_and_go_while_the_web_serves_on(redis_url: str) -> None:
    with deployed(redis_url) as (deployment, receiver):
        releases_come_and_go(deployment, receiver)


def releases_come_and_go(deployment: Deployment, receiver: Receiver) -> None:
    # The first: everything is installed, and supervisord started.
    code, told = deployment.run(
        "deploy", str(deployment.source("one", whole=True)), "--release", "one", "--start", whole=True
    )
    assert code == 0, told
    assert (deployment.current(), deployment.versions()) == ("one", {"one"})
    assert httpx.get(f"{deployment.url}/readyz", trust_env=False).status_code == 200

    with Clients(deployment.url) as clients:
        # The second: its deploy dies once it is installed, then in the middle of the reload, and is said again.
        second = str(deployment.source("two"))
        deployment.die_in("migrate", "deploy", second, "--release", "two")
        assert (deployment.current(), deployment.versions()) == ("one", {"one"})
        deployment.die_in("reload", "deploy", second, "--release", "two")
        assert deployment.current() == "two"
        assert "one" in deployment.versions()
        code, told = deployment.run("deploy", second, "--release", "two")
        assert code == 0, told
        assert "going on with it as it is installed" in told
        assert (deployment.current(), deployment.versions()) == ("two", {"two"})

        # The third does not become ready: it goes back by itself.
        broken = deployment.source("three")
        server = broken / "web" / "server.py"
        server.write_text(
            server.read_text().replace('    """Serve until', '    return 1\n    """Serve until', 1)
        )
        code, told = deployment.run("deploy", str(broken), "--release", "three")
        assert code == 3, told
        assert "two is current again, and everything runs on it" in told
        assert (deployment.current(), deployment.versions()) == ("two", {"two"})

        # Back to the first, by hand.
        code, told = deployment.run("rollback", "--to", "one")
        assert code == 0, told
        assert (deployment.current(), deployment.versions()) == ("one", {"one"})

    assert (clients.failed, clients.asked > 100) == ([], True)
    releases = deployment.releases()
    assert {name for name, one in releases.items() if one["current"]} == {"one"}
    assert {name for name, one in releases.items() if one["former"]} == {"two"}
    assert not releases["three"]["proven"]
    assert receiver.titles == [
        *("lockstep: deploy of one started", "lockstep: deploy of one done"),
        *("lockstep: deploy of two started",) * 3,
        "lockstep: deploy of two done",
        *("lockstep: deploy of three started", "lockstep: deploy of three rolled back"),
        *("lockstep: rollback to one started", "lockstep: rollback to one done"),
    ]
