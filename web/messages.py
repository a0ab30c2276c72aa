"""Messages: accept one, accept many, show one."""

from typing import Any, Final

import dramatiq
from starlette.requests import Request
from starlette.responses import Response

from lockstep.broker import LockstepBroker
from lockstep.checks import MAX_BATCH, kind, member
from lockstep.errors import InvalidMessage
from lockstep.listrequests import parse_list
from lockstep.records import Accepted
from lockstep.requests import parse_request
from lockstep.views import listed_view, message_view
from web.body import parse_json, read_body
from web.context import Context
from web.paths import message_path
from web.problems import Problem
from web.views import Json, parameters

#: The body of a batch may be this many times MAX_PAYLOAD_BYTES.
BATCH_FACTOR: Final = 16


async def create(request: Request) -> Response:
    """Accept one message: 202, or 200 when its id was known already."""
    _refuse_idempotency_key(request)
    context = Context.of(request)
    body = await read_body(request, context.settings.max_payload_bytes)
    message, accepted = await context.threads.run(lambda: _submit(context.broker, body))
    headers = {"Location": message_path(accepted.id)}
    if accepted.duplicate:
        headers["Idempotent-Replayed"] = "true"
    return Json(accepted_view(message, accepted), 200 if accepted.duplicate else 202, headers)


async def create_batch(request: Request) -> Response:
    """Accept up to 1000 messages, or none if one of them is wrong."""
    _refuse_idempotency_key(request)
    context = Context.of(request)
    body = await read_body(request, context.settings.max_payload_bytes * BATCH_FACTOR)
    accepted = await context.threads.run(lambda: _submit_batch(context.broker, body))
    duplicates = sum(one.duplicate for one in accepted)
    ids = [one.id for one in accepted]
    return Json({"accepted": len(ids) - duplicates, "duplicates": duplicates, "ids": ids}, 202)


async def index(request: Request) -> Response:
    """A page of the messages that match."""
    context = Context.of(request)
    wanted, cursor, limit = parse_list(parameters(request))
    listing = context.broker.store.listing
    page = await context.threads.run(lambda: listing.page(wanted, cursor=cursor, limit=limit))
    return Json({"items": [listed_view(one) for one in page.items], "next_cursor": page.next_cursor})


async def show(request: Request) -> Response:
    """One message with every attempt."""
    context = Context.of(request)
    record = await context.threads.run(lambda: context.broker.store.message(request.path_params["id"]))
    return Json(message_view(record))


def _submit(broker: LockstepBroker, body: bytes) -> tuple["dramatiq.Message[Any]", Accepted]:
    message, delay = parse_request(broker, parse_json(body))
    return message, broker.submit(message, delay=delay)


def _submit_batch(broker: LockstepBroker, body: bytes) -> list[Accepted]:
    parsed = [
        parse_request(broker, item, pointer=f"/messages/{place}")
        for place, item in enumerate(_items(parse_json(body)))
    ]
    try:
        return broker.enqueue_many([message for message, _ in parsed], [delay for _, delay in parsed])
    except InvalidMessage as error:
        # The engine counts from the beginning of the list that it was given.
        error.field = f"/messages{error.field}"
        raise


def _items(data: object) -> list[object]:
    if not isinstance(data, dict):
        raise InvalidMessage("", f"expected an object, got {kind(data)}")
    for name in data:
        if name != "messages":
            raise InvalidMessage(member("", name), "no such field; there is: messages")
    items = data.get("messages")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
        raise InvalidMessage("/messages", f"expected an array of 1 to {MAX_BATCH} messages")
    return items


def accepted_view(message: "dramatiq.Message[Any]", accepted: Accepted) -> dict[str, Any]:
    """The answer to whoever sent a message."""
    return {
        "id": accepted.id,
        "queue": message.queue_name,
        "group": message.options.get("group"),
        "state": accepted.state,
        "sequence": accepted.sequence,
    }


def _refuse_idempotency_key(request: Request) -> None:
    # To ignore it would let a client believe that its repeat is safe.
    if "idempotency-key" in request.headers:
        raise Problem(400, "Idempotency-Key is not supported yet: give each message an id of your own.")
