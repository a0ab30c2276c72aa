"""Messages: accept one, accept many, show one."""

from typing import Any

import dramatiq
from starlette.requests import Request
from starlette.responses import Response

from lockstep.checks import MAX_BATCH, kind, member
from lockstep.errors import InvalidMessage
from lockstep.listrequests import parse_list
from lockstep.records import Accepted
from lockstep.requests import parse_request
from lockstep.views import listed_view, message_view
from web.body import BATCH_FACTOR, parse_json, read_body
from web.context import Context
from web.in_flight import check_same, header_key
from web.paths import message_path
from web.views import Json, parameters


async def create(request: Request) -> Response:
    """Accept one message: 202, or 200 when nothing was written because it is there already."""
    context = Context.of(request)
    key = header_key(request)
    body = await read_body(request, context.settings.max_payload_bytes)
    message, accepted = await context.threads.run(lambda: _submit(context, body, key))
    headers = {"Location": message_path(accepted.id)}
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Json(accepted_view(message, accepted), 200 if accepted.duplicate else 202, headers)


async def create_batch(request: Request) -> Response:
    """Accept up to 1000 messages, or none if one of them is wrong."""
    context = Context.of(request)
    key = header_key(request)
    body = await read_body(request, context.settings.max_payload_bytes * BATCH_FACTOR)
    accepted = await context.threads.run(lambda: _submit_batch(context, body, key))
    duplicates = sum(one.duplicate for one in accepted)
    ids = [one.id for one in accepted]
    answer = {"accepted": len(ids) - duplicates, "duplicates": duplicates, "ids": ids}
    if key is not None and all(one.replayed for one in accepted):
        return Json(answer, 200, {"Idempotent-Replayed": "true"})
    return Json(answer, 202)


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


def _submit(context: Context, body: bytes, key: str | None) -> tuple["dramatiq.Message[Any]", Accepted]:
    message, delay = parse_request(context.broker, parse_json(body))
    check_same(key, message.options.get("idempotency_key"), "/idempotency_key")
    if key is not None:
        message.options["idempotency_key"] = key
    with context.in_flight.hold([message.options.get("idempotency_key")]):
        return message, context.broker.submit(message, delay=delay)


def _submit_batch(context: Context, body: bytes, key: str | None) -> list[Accepted]:
    broker = context.broker
    parsed = [
        parse_request(broker, item, pointer=f"/messages/{place}")
        for place, item in enumerate(_items(parse_json(body)))
    ]
    messages, delays = [message for message, _ in parsed], [delay for _, delay in parsed]
    try:
        with context.in_flight.hold([key, *(one.options.get("idempotency_key") for one in messages)]):
            return broker.enqueue_many(messages, delays, idempotency_key=key)
    except InvalidMessage as error:
        # The engine counts from the beginning of the list that it was given; the key of all of them is in no message.
        error.field = f"/messages{error.field}" if error.field else "/idempotency_key"
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
