"""Limits: look at them, change them at run time, hold them; pause an actor."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lockstep import logs
from lockstep.checks import check_group, check_whole, kind, member
from lockstep.errors import InvalidMessage, UnknownActor
from lockstep.limitstore import LimitStore
from lockstep.rates import MAX_COUNT, MAX_PERIOD_MS, Rate, is_name, parse_rates
from lockstep.views import limit_view
from web.body import has_body, parse_json, read_body
from web.context import Context
from web.views import Json

_log = logs.get_logger("lockstep.web")

#: Bytes of a body of this module, at most.
_MOST = 4096


async def index(request: Request) -> Response:
    """Every limit and how it is used; the actors that are paused."""
    context = Context.of(request)
    limits = context.broker.store.limits
    items, paused = await context.threads.run(lambda: (limits.all(), limits.paused_actors()))
    return Json({"items": [limit_view(one) for one in items], "paused_actors": paused})


async def change(request: Request) -> Response:
    """Say what a limit is, from now on and for the whole fleet."""
    limits, name = _limits(request), _name(request)
    fields = await _fields(request, ("rates", "concurrency"))
    if not fields:
        raise InvalidMessage("", "expected rates, concurrency or both")
    rates = _rates(fields["rates"]) if "rates" in fields else None
    concurrency = None
    if "concurrency" in fields:
        concurrency = check_whole(fields["concurrency"], 0, MAX_COUNT, "/concurrency")
    await Context.of(request).threads.run(lambda: limits.set(name, rates=rates, concurrency=concurrency))
    _log.info("limit.changed", limit=name, rates=rates and list(map(str, rates)), concurrency=concurrency)
    return await index(request)


async def reset(request: Request) -> Response:
    """Back to what settings and actors say."""
    limits, name = _limits(request), _name(request)
    await Context.of(request).threads.run(lambda: limits.reset(name))
    _log.info("limit.reset", limit=name)
    return await index(request)


async def hold(request: Request) -> Response:
    """Start nothing that a limit counts for some seconds."""
    limits, name = _limits(request), _name(request)
    fields = await _fields(request, ("seconds", "key"))
    ms = check_whole(fields.get("seconds"), 1, MAX_PERIOD_MS // 1000, "/seconds") * 1000
    key = check_group(fields["key"], "/key") if "key" in fields else ""
    held = await Context.of(request).threads.run(lambda: limits.hold(name, ms, key))
    _log.info("limit.held", limit=name, seconds=held / 1000)
    return Json({"name": name, "key": key or None, "held_seconds": held / 1000})


async def release(request: Request) -> Response:
    """End a hold."""
    limits, name = _limits(request), _name(request)
    fields = await _fields(request, ("key",)) if has_body(request) else {}
    key = check_group(fields["key"], "/key") if "key" in fields else ""
    await Context.of(request).threads.run(lambda: limits.release(name, key))
    _log.info("limit.released", limit=name)
    return Json({"name": name, "key": key or None, "held_seconds": 0})


async def pause_actor(request: Request) -> Response:
    """Start nothing more of an actor; what runs goes on."""
    return await _switch(request, paused=True)


async def resume_actor(request: Request) -> Response:
    """Start it again."""
    return await _switch(request, paused=False)


async def _switch(request: Request, *, paused: bool) -> Response:
    context, actor = Context.of(request), request.path_params["actor"]
    if actor not in context.broker.actors:
        raise UnknownActor(actor)
    limits = context.broker.store.limits
    press = limits.pause_actor if paused else limits.resume_actor
    changed = await context.threads.run(lambda: press(actor))
    if changed:
        _log.info("actor.paused" if paused else "actor.resumed", actor=actor)
    return Json({"actor": actor, "paused": paused, "changed": changed})


def _limits(request: Request) -> LimitStore:
    return Context.of(request).broker.store.limits


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not is_name(name):
        raise InvalidMessage("/name", "expected letters, digits, '.', '_' and '-'")
    return name


async def _fields(request: Request, known: tuple[str, ...]) -> Mapping[str, Any]:
    data = parse_json(await read_body(request, _MOST))
    if not isinstance(data, dict):
        raise InvalidMessage("", f"expected an object, got {kind(data)}")
    for name in data:
        if name not in known:
            raise InvalidMessage(member("", name), f"no such field; there are: {', '.join(known)}")
    return data


def _rates(value: object) -> tuple[Rate, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidMessage("/rates", 'expected an array of rates such as "100/60s"')
    try:
        return parse_rates(value)
    except ValueError as error:
        raise InvalidMessage("/rates", str(error)) from None
