"""Answers of the API, and the field names of older systems."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lockstep.errors import InvalidMessage
from lockstep.records import QueueCounts
from lockstep.states import MessageState


class Json(Response):
    """A JSON answer; text that is no Unicode is escaped instead of failing."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Encode ``content``."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def parameters(request: Request) -> dict[str, str]:
    """The parameters of the query, each given once.

    Raises:
      InvalidMessage: one is given twice.
    """
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise InvalidMessage(f"/{name}", "given twice")
        found[name] = value
    return found


def status_view(counts: list[QueueCounts]) -> dict[str, Any]:
    """All queues under the field names that operators of older queue systems know."""
    queues = {one.queue: _old_names(one) for one in counts}
    totals = {name: sum(queue[name] for queue in queues.values()) for name in _OLD_NAMES}
    return {**totals, "queues": queues}


_OLD_NAMES = {
    "waiting": (MessageState.WAITING,),
    "active": (MessageState.RUNNING,),
    "completed": (MessageState.DONE,),
    "failed": (MessageState.DEAD,),
    "delayed": (MessageState.SCHEDULED, MessageState.BACKOFF),
}


def _old_names(counts: QueueCounts) -> dict[str, int]:
    return {
        name: sum(counts.messages.get(state, 0) for state in states) for name, states in _OLD_NAMES.items()
    }
