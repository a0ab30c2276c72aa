"""A fleet that has done something, shared by whoever looks at it."""

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.support.fleet import Fleet
from tests.support.waiting import PATIENCE, wait_for

TOKEN = "scraper-token"
KEY = "load-test-key"


@pytest.fixture(scope="session")
def fleet(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Web, worker and scheduler; messages were done, retried and dead-lettered."""
    directory = tmp_path_factory.mktemp("fleet")
    settings = {
        "REDIS_URL": redis_url,
        "QUEUE_NAMESPACE": "deployed",
        "API_KEYS": f"load:enqueue+read+operate:{KEY}",
        "METRICS_TOKEN": TOKEN,
        "HOST": "127.0.0.1",
        "ACTOR_MODULES": "tests.support.outcome_actors",
        "SCHEDULE_HEARTBEAT": "true",
    }
    with closing(Fleet(directory, **settings)) as fleet:
        worker, scheduler = fleet.start("worker"), fleet.start("scheduler")
        fleet.start_web()
        for how in ("done", "retry", "dead"):
            message = {"actor": "ends", "kwargs": {"group": how, "how": how}}
            answer = httpx.post(
                f"{fleet.url}/api/v1/messages", json=message, headers=bearer(KEY), trust_env=False
            )
            assert answer.status_code == 202, answer.text
        worker.wait_told("worker.ready")
        scheduler.wait_told("scheduler.started")
        told = [f'outcome="{outcome}"' for outcome in ("done", "retry", "dead")]
        told.append("lockstep_message_duration_seconds_bucket")
        wait_for("what happened is told", lambda: all(words in scrape(fleet) for words in told))
        yield fleet


def bearer(secret: str) -> dict[str, str]:
    """The header that carries a secret."""
    return {"Authorization": f"Bearer {secret}"}


def scrape(fleet: Fleet, accept: str = "text/plain") -> str:
    """What Prometheus is told."""
    answer = httpx.get(
        f"{fleet.url}/metrics", headers={**bearer(TOKEN), "Accept": accept}, trust_env=False, timeout=PATIENCE
    )
    assert answer.status_code == 200, answer.text
    return answer.text
