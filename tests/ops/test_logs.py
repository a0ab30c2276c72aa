"""Log lines: one an event, for people or machines, nothing steers a terminal, nothing secret comes out."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from lockstep import logs
from lockstep.errors import Permanent
from lockstep.settings import Settings


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def configured(log_format: str = "json", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    environment = {"LOG_FORMAT": log_format, "LOG_LEVEL": level, "INSTANCE_ID": "worker.1"}
    logs.configure(Settings.load(environment, env_file=""), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_its_event_values_and_instance() -> None:
    stream = configured()
    structlog.contextvars.bind_contextvars(message_id="m1")

    structlog.get_logger().warning("message.retry", group="a:b", queue="messages")

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "message.retry",
        "level": "warning",
        "instance": "worker.1",
        "message_id": "m1",
        "group": "a:b",
        "queue": "messages",
    }


def test_lines_of_libraries_look_the_same() -> None:
    stream = configured()

    logging.getLogger("dramatiq.worker").warning("hello %s", "you")

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["instance"]) == ("hello you", "warning", "worker.1")
    assert line["logger"] == "dramatiq.worker"


def test_the_level_counts_for_all() -> None:
    stream = configured(level="warning")

    structlog.get_logger().info("worker.ready")
    logging.getLogger("dramatiq").info("ready")

    assert stream.getvalue() == ""


def test_a_second_configuration_replaces_the_first() -> None:
    first = configured()
    second = configured()

    logging.getLogger("dramatiq").warning("once")

    assert first.getvalue() == ""
    assert len(lines(second)) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_value_steers_the_terminal_or_makes_a_second_line(log_format: str) -> None:
    stream = configured(log_format)

    structlog.get_logger().info("message.released", group="a\x1b[2Jb\nevent=forged \udc80")

    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_error_shows_no_local_variables(log_format: str) -> None:
    stream = configured(log_format)

    def fail(secret: str) -> None:
        raise ValueError(len(secret))

    try:
        fail("hid" + "den")  # not in the source, which a trace may show
    except ValueError:
        structlog.get_logger().exception("redis.lost")

    assert "ValueError: 6" in stream.getvalue()
    assert "hidden" not in stream.getvalue()


def test_without_a_stream_it_follows_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure(Settings.load({}, env_file=""))
    later = io.StringIO()  # a worker process of Dramatiq replaces it after its start
    monkeypatch.setattr(sys, "stderr", later)

    structlog.get_logger().info("worker.ready")

    assert "worker.ready" in later.getvalue()


def test_a_refusal_on_purpose_is_told_without_a_trace() -> None:
    stream = configured("console")

    try:
        raise Permanent("no such customer")
    except Permanent:
        logging.getLogger("dramatiq.worker.WorkerThread").error("Failed with %s.", "m1", exc_info=True)

    assert "Failed with m1: no such customer" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("level", "told"), [("info", 0), ("debug", 1)])
def test_steps_of_dramatiq_are_told_to_who_looks_for_a_fault(level: str, told: int) -> None:
    stream = configured(level=level)

    logging.getLogger("dramatiq.worker.Worker").info("Shutting down...")

    assert len(lines(stream)) == told


@pytest.mark.parametrize(("settlement", "told"), [("released", 0), (None, 1)])
def test_a_message_that_is_put_back_is_not_told_as_skipped(settlement: str | None, told: int) -> None:
    stream = configured()

    message = SimpleNamespace(settlement=settlement)
    logging.getLogger("dramatiq.worker.WorkerThread").warning("Message %s was skipped.", message)

    assert len(lines(stream)) == told
