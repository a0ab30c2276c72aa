"""A web process enqueues what a worker left in an outbox when it died, as workers do."""

import asyncio
from collections.abc import Callable

from lockstep.broker import LockstepBroker
from lockstep.settings import Settings
from lockstep.states import MessageState
from tests.support.waiting import wait_for
from tests.web.client import Client


def test_a_web_process_sends_what_follows_a_message_of_a_dead_worker(
    settings: Settings, make_client: Callable[[Settings], Client]
) -> None:
    app = make_client(settings).app
    broker: LockstepBroker = app.state.context.broker
    entry = broker.prepare_follow_up(broker.get_actor("mail.send").message("ada"))
    outbox = broker.store.shards("mail")[0].outbox
    broker.store.declare("mail")
    broker.store.command("ZADD", outbox, 1, entry)

    async def serve() -> None:  # with all that a web process does beside its answers
        async with app.router.lifespan_context(app):
            enqueued = lambda: not broker.store.command("EXISTS", outbox)  # noqa: E731
            await asyncio.to_thread(wait_for, "it is enqueued", enqueued)

    asyncio.run(serve())
    assert broker.store.counts("mail").messages[MessageState.WAITING] == 1
