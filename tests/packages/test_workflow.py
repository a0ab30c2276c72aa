"""dramatiq-workflow: chains and groups of messages, nested and delayed."""

import threading
from collections.abc import Callable

import dramatiq
from dramatiq import Worker
from dramatiq.rate_limits.backends import RedisBackend
from dramatiq_workflow import Chain, Group, WithDelay, Workflow, WorkflowMiddleware

from lockstep.broker import LockstepBroker
from tests.support.waiting import wait_for

Start = Callable[[], Worker]


def test_a_workflow_runs_in_its_order(broker: LockstepBroker, start: Start, redis_url: str) -> None:
    backend = RedisBackend(url=redis_url)
    broker.add_middleware(WorkflowMiddleware(backend))
    ran: list[str] = []
    guard = threading.Lock()

    @dramatiq.actor(group_by="{name}", backoff="fixed:10ms")
    def step(name: str) -> None:
        with guard:
            ran.append(name)
        if name == "retried" and ran.count(name) == 1:
            raise ValueError("once more")

    start()
    Workflow(
        Chain(
            step.message("first"),
            Group(
                Chain(step.message("retried"), step.message("after-retried")),
                WithDelay(step.message("delayed"), delay=50),
            ),
            step.message("last"),
        )
    ).run()
    wait_for("the last has run", lambda: "last" in ran)
    broker.join("default", timeout=300_000)
    assert ran[0] == "first"
    assert ran[-1] == "last"
    assert sorted(ran[1:-1]) == ["after-retried", "delayed", "retried", "retried"]
    assert ran.index("after-retried") > ran.index("retried")
    backend.client.close()
