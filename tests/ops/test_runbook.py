"""The runbook: each section's trouble is brought about, and its commands are typed in a real deployment.

The tests share one deployment and run in the order of the page; each leaves it as it found it.
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from lockstep.cli.commands import make_app
from lockstep.deploying.home import Home
from lockstep.supervision.control import ProgramState
from tests.ops.shop import FORMER, NEWEST, Shop
from tests.support.console import Command, Section, sections
from tests.support.waiting import PATIENCE, wait_for

PAGE = Path("docs/operations.md")
SECTIONS = sections(PAGE)

#: How long something may take on a machine that has much else to do.
#: Exit code of a command that Redis did not answer.
REDIS_AWAY = 4

#: Seconds between two looks.
LOOK_SECONDS = 0.2

#: Commands that only look: an operator looks again until what should come has come.
LOOKS = re.compile(
    r"lockstep (verify|status|queues|groups|messages?|workers|processes|schedules|health|releases|fsck|dead summary"
    r"|accept status)\b|curl |grep |tail "
)

#: What happens before each block of a section; after the last, that it is over.
Story = Callable[[Shop], Iterator[None]]
STORIES: dict[str, Story] = {}


def story(title: str) -> Callable[[Story], Story]:
    def register(tell: Story) -> Story:
        STORIES[title] = tell
        return tell

    return register


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    # Not as deep as pytest's own: the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory:
        shop = Shop(Path(directory).resolve())
        try:
            shop.open()
            yield shop
        finally:
            shop.close()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_a_section_does_what_it_says(section: Section, shop: Shop) -> None:
    told = STORIES[section.title](shop)
    for number, block in enumerate(section.blocks, 1):
        assert next(told, "over") is None, f"the story of {section.title!r} ends before block {number}"
        for command in block:
            try_out(shop, command)
    assert next(told, "over") == "over", f"{section.title!r} has fewer blocks than its story"
    wait_for("all is as before", lambda: not shop.unsettled())


def try_out(shop: Shop, command: Command) -> None:
    started = time.monotonic()
    deadline = started + (PATIENCE if LOOKS.match(command.text) else 0)
    while True:
        code, output = shop.type(command.text)
        if code == 0 and (command.agrees(output) or command.agrees(just_started(output))):
            return
        if code == REDIS_AWAY:  # a busy machine may be slower than REDIS_TIMEOUT; people type it again
            deadline = max(deadline, started + PATIENCE)
        if time.monotonic() >= deadline:
            shown = "\n".join(command.shown)
            pytest.fail(
                f"{PAGE}:{command.line}: $ {command.text}\nexit {code}\n{output}\nnot as shown:\n{shown}"
            )
        time.sleep(LOOK_SECONDS)


def just_started(output: str) -> str:
    """What a command would have shown a moment earlier: on a busy machine a process may run by then."""
    return re.sub(r"│ running +│", "│ starting │", output)


def test_every_section_has_a_story() -> None:
    assert [section.title for section in SECTIONS] == list(STORIES)


def test_links_on_the_page_lead_somewhere() -> None:
    for page, anchor in re.findall(r"\]\(([a-z-]*(?:\.md)?)(?:#([a-z-]+))?\)", PAGE.read_text()):
        target = Path("docs") / page if page else PAGE
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, (page, anchor)


@pytest.mark.parametrize("page", [PAGE, Path("docs/going-live.md")], ids=lambda page: page.stem)
def test_what_is_said_in_between_can_be_typed(page: Path) -> None:
    """Commands inside sentences are not run, so at least their words are those that there are."""
    said = re.findall(r"`lockstep ([a-z][^`]*)`", page.read_text())
    assert said
    for line in said:
        command: Any = typer.main.get_command(make_app())
        for word in line.split():
            if word.startswith("--"):
                flags = {flag for option in command.params for flag in option.opts}
                assert word in flags, f"{line}: {word}"
            elif word.isalpha() and word.islower() and hasattr(command, "commands"):
                assert word in command.commands, f"{line}: {word}"
                command = command.commands[word]


# -- the troubles, in the order of the page ---------------------------------------------------------------------------


@story("First look")
def first_look(shop: Shop) -> Iterator[None]:
    yield


@story("Rollback")
def rollback(shop: Shop) -> Iterator[None]:
    shop.order("customer-7", ["order-1"])  # the newest release cannot charge anything
    shop.wait_for_state("order-1", "dead")
    yield
    yield
    yield
    shop.wait_for_state("order-1", "done")


@story("Restart")
def restart(shop: Shop) -> Iterator[None]:
    yield


@story("Drain")
def drain(shop: Shop) -> Iterator[None]:
    shop.order("customer-7", [f"order-1{number}" for number in range(3)])
    yield
    assert shop.store.message("order-12").state == "done"
    yield
    assert shop.store.intake.status().accept


@story("Not scraped")
def not_scraped(shop: Shop) -> Iterator[None]:
    yield


@story("Redis down")
def redis_down(shop: Shop) -> Iterator[None]:
    shop.provider("hangs")
    shop.order("customer-7", ["order-21", "order-22"])
    shop.wait_for_state("order-21", "running")
    shop.kill_redis()
    yield
    shop.provider("works")
    shop.restart_redis()
    yield
    shop.wait_for_state("order-22", "done")


@story("Memory full")
def memory_full(shop: Shop) -> Iterator[None]:
    shop.limit_memory("2mb")
    yield
    yield
    yield
    yield
    shop.wait_for_state("order-31", "done")


@story("Redis failover")
def redis_failover(shop: Shop) -> Iterator[None]:
    shop.provider("hangs")
    shop.order("customer-7", ["order-41", "order-42"])
    shop.wait_for_state("order-41", "running")
    shop.lose_primary()
    shop.provider("works")
    yield
    shop.reconnect()
    yield
    shop.wait_for_state("order-42", "done")
    assert shop.charged("order-42") == 1


@story("Intake off")
def intake_off(shop: Shop) -> Iterator[None]:
    shop.store.intake.switch(accept=False, why="moving house")
    yield
    shop.order("customer-7", ["order-51"])


@story("HTTP errors")
def http_errors(shop: Shop) -> Iterator[None]:
    shop.store.intake.switch(accept=False, why="moving house")
    yield
    yield
    shop.order("customer-7", ["order-52"])


@story("No workers")
def no_workers(shop: Shop) -> Iterator[None]:
    module = shop.directory / "shop.py"
    working = module.read_text()
    module.write_text(f"import prices\n{working}")
    shop.restart_workers()
    shop.order("customer-7", ["order-53"])
    wait_for("no worker", lambda: not shop.ready_workers())
    yield
    module.write_text(working)
    yield
    yield
    shop.wait_for_state("order-53", "done")


@story("Silent scheduler")
def silent_scheduler(shop: Shop) -> Iterator[None]:
    for program in shop.programs("scheduler"):
        shop.control.stop(program.address)
    wait_for(
        "stopped", lambda: all(p.state is ProgramState.STOPPED for p in shop.programs("scheduler")), PATIENCE
    )
    yield
    yield


@story("Mixed versions")
def mixed_versions(shop: Shop) -> Iterator[None]:
    home = Home(shop.directory)
    home.switch(NEWEST)
    shop.restart_workers("worker-0")
    wait_for("a newer one", lambda: NEWEST in {one.version for one in shop.store.processes.listing()})
    home.switch(FORMER)
    yield
    yield


@story("Failed messages")
def failed_messages(shop: Shop) -> Iterator[None]:
    shop.provider("refuses")
    shop.order("customer-7", ["order-61", "order-62"])
    shop.order("customer-8", ["order-63"])
    for id_ in ("order-61", "order-62", "order-63"):
        shop.wait_for_state(id_, "dead")
    yield
    shop.provider("works")
    yield
    yield
    shop.wait_for_state("order-62", "done")


@story("Error rate")
def error_rate(shop: Shop) -> Iterator[None]:
    shop.provider("refuses")
    shop.order("customer-7", ["order-71", "order-72"])
    shop.wait_for_state("order-72", "dead")
    yield
    shop.order("customer-7", ["order-73"])
    shop.provider("works")
    assert shop.store.message("order-73").state == "waiting"
    yield
    yield
    shop.wait_for_state("order-73", "done")


@story("Retry rate")
def retry_rate(shop: Shop) -> Iterator[None]:
    shop.provider("fails")
    shop.order("customer-7", ["order-81", "order-82"])
    shop.wait_for_state("order-81", "backoff")
    yield
    shop.provider("works")
    yield
    yield
    shop.wait_for_state("order-82", "done")


@story("Growing queue")
def growing_queue(shop: Shop) -> Iterator[None]:
    shop.provider("hangs")
    for customer in range(101, 141):
        shop.order(f"customer-{customer}", [f"order-{customer}-{number}" for number in range(4)])
    yield
    yield
    yield
    shop.provider("works")
    yield


@story("Slow messages")
def slow_messages(shop: Shop) -> Iterator[None]:
    shop.provider("hangs")
    shop.order("customer-7", ["order-91"])
    yield
    shop.provider("works")
    yield


@story("Nothing runs")
def nothing_runs(shop: Shop) -> Iterator[None]:
    shop.configure(WORKER_QUEUES="messages")
    shop.restart_workers()
    wait_for(
        "none takes orders",
        lambda: [one.queues for one in shop.ready_workers()] == [("messages",)] * 2,
        PATIENCE,
    )
    shop.order("customer-7", ["order-95"])
    yield
    yield
    yield
    shop.wait_for_state("order-95", "done")


@story("Stuck group")
def stuck_group(shop: Shop) -> Iterator[None]:
    shop.provider("hangs")
    shop.order("customer-7", ["order-101", "order-102"])
    shop.wait_for_state("order-101", "running")
    yield
    yield
    shop.wait_for_state("order-101", "cancelled")
    shop.provider("works")
    shop.wait_for_state("order-102", "done")
    shop.provider("fails")
    shop.order("customer-7", ["order-103", "order-104"])
    shop.wait_for_state("order-103", "backoff")
    shop.provider("works")
    yield
    yield
    shop.wait_for_state("order-104", "done")
    yield
    shop.wait_for_state("order-103", "done")


@story("Processed twice")
def processed_twice(shop: Shop) -> Iterator[None]:
    shop.provider("dies")
    shop.order("customer-7", ["order-111"])
    shop.wait_for_state("order-111", "done")
    assert shop.charged("order-111") == 2
    yield
