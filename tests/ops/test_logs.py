"""Log lines: one an event, for people or machines, nothing steers a terminal, nothing secret comes out."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
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
    hooks = threading.excepthook, sys.unraisablehook, sys.excepthook
    # Not those of pytest, which keep what is raised for themselves.
    threading.excepthook, sys.unraisablehook = threading.__excepthook__, sys.__unraisablehook__
    sys.excepthook = sys.__excepthook__
    yield
    threading.excepthook, sys.unraisablehook, sys.excepthook = hooks
    logging.captureWarnings(False)
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


#: Clears the screen, and forges a line.
FORGED = "\x1b[2J\n2026-01-01T00:00:00Z [info     ] all is well\x9b"


class Undeletable:
    def __del__(self) -> None:
        raise ValueError(FORGED)


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError(FORGED)


class OddNumber(int):
    def __repr__(self) -> str:
        return FORGED


def fail() -> None:
    raise ValueError(FORGED)


def in_a_thread() -> None:
    thread = threading.Thread(target=fail, name=FORGED)
    thread.start()
    thread.join()


def in_the_main_thread() -> None:
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)


def while_deleting() -> None:
    Undeletable()


def as_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(FORGED, stacklevel=1)


UNHANDLED = [in_a_thread, in_the_main_thread, while_deleting, as_a_warning]


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("happens", UNHANDLED, ids=lambda one: one.__name__)
def test_what_nobody_handles_is_a_line_of_the_log(
    happens: Callable[[], None], log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = configured(log_format)
    happens()
    assert capfd.readouterr().err == ""
    written = stream.getvalue()
    assert written
    if log_format == "json":
        assert all(isinstance(line, dict) for line in lines(stream))
    else:
        assert "\x1b" not in written and "\x9b" not in written
        assert not any(line.startswith("2026-01-01") for line in written.splitlines())


def test_ctrl_c_and_the_end_of_a_thread_are_no_faults(capfd: pytest.CaptureFixture[str]) -> None:
    stream = configured()
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert stream.getvalue() == ""
    assert "KeyboardInterrupt" in capfd.readouterr().err


def test_a_hook_of_the_application_stays() -> None:
    heard: list[Any] = []
    threading.excepthook = heard.append
    stream = configured()
    in_a_thread()
    assert len(heard) == 1
    assert stream.getvalue() == ""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_value_that_cannot_be_shown_costs_its_line_and_no_more(
    log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = configured(log_format)
    structlog.get_logger().warning("message.retry", value=Unshowable())
    logging.getLogger("library").warning("%s", Unshowable())
    structlog.get_logger().warning("message.retry", value=OddNumber(5))
    assert capfd.readouterr().err == ""
    first, second, third = stream.getvalue().splitlines()
    assert "cannot be written: ValueError" in first
    assert "a line of library" in second
    assert "message.retry" in third
    assert "\x1b" not in stream.getvalue()
