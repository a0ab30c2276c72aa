"""The queue between consumers and worker threads: its timed wait ends, and no item waits beside an idle thread."""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from queue import Empty, Queue
from types import SimpleNamespace
from typing import Any

import pytest
from dramatiq.common import iter_queue
from dramatiq.threading import Interrupt, raise_thread_exception

from lockstep.holding import HeldMessages
from lockstep.workqueue import WorkQueue
from tests.support.waiting import PATIENCE, wait_for


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(HeldMessages())


@pytest.fixture
def slow_switches() -> Iterator[None]:
    """A thread keeps the interpreter for as long as it likes, as it may on a busy machine."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5)
    yield
    sys.setswitchinterval(before)


def started(target: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def steal_from_a_waiting_thread(queue: WorkQueue) -> threading.Thread:
    """Let a thread wait 0.2 s for an item that it is woken for, but that is gone when it looks."""
    ended: list[str] = []

    def wait() -> None:
        try:
            queue.get(timeout=0.2)
        except Empty:
            ended.append("empty")

    getter = started(wait)
    wait_for("it waits", lambda: queue._idle)
    queue.put(1)
    queue.get_nowait()
    spin(0.1)
    return getter


def test_a_timed_wait_ends_although_another_thread_takes_the_item(
    queue: WorkQueue, slow_switches: None
) -> None:
    getters = [steal_from_a_waiting_thread(queue) for _ in range(5)]
    for getter in getters:
        getter.join(PATIENCE)
        assert not getter.is_alive()


def test_it_is_a_queue(queue: WorkQueue) -> None:
    for number in range(5):
        queue.put(number)
    assert (queue.qsize(), queue.empty()) == (5, False)
    assert queue.get() == 0
    assert queue.get(timeout=0) == 1
    assert queue.get_nowait() == 2
    assert list(iter_queue(queue)) == [3, 4]
    assert (queue.qsize(), queue.empty()) == (0, True)
    for get in (queue.get_nowait, lambda: queue.get(timeout=0), lambda: queue.get(timeout=0.01)):
        with pytest.raises(Empty):
            get()
    with pytest.raises(ValueError, match="negative"):
        queue.get(timeout=-1)


def test_a_wait_takes_its_time_and_no_less(queue: WorkQueue) -> None:
    begun = time.monotonic()
    with pytest.raises(Empty):
        queue.get(timeout=0.3)
    assert time.monotonic() - begun >= 0.3


def test_each_item_is_taken_once_in_order_whatever_times_out(queue: WorkQueue) -> None:
    items, putters, getters = 3000, 3, 12
    taken: Queue[tuple[int, int]] = Queue()
    orders: list[list[tuple[int, int]]] = [[] for _ in range(getters)]
    ended = threading.Event()

    def put(putter: int) -> None:
        for number in range(items):
            queue.put((putter, number))
            if random.random() < 0.02:
                time.sleep(0.0005)

    def get(mine: list[tuple[int, int]]) -> None:
        while not ended.is_set():
            try:
                item = queue.get(timeout=random.choice((0, 0.0001, 0.001, 0.005)))
            except Empty:
                continue
            mine.append(item)
            taken.put(item)

    threads = [started(lambda mine=mine: get(mine)) for mine in orders]
    threads += [started(lambda putter=putter: put(putter)) for putter in range(putters)]
    wait_for("all are taken", lambda: taken.qsize() >= items * putters, 60)
    ended.set()
    for thread in threads:
        thread.join(PATIENCE)
    counts = Counter(item for mine in orders for item in mine)
    assert len(counts) == items * putters
    assert set(counts.values()) == {1}
    for mine in orders:  # what one thread gets of one consumer keeps its order
        for putter in range(putters):
            numbers = [number for who, number in mine if who == putter]
            assert numbers == sorted(numbers)


@pytest.fixture
def gate() -> threading.Event:
    """Opened, it ends what each thread does with an item that is ``long``."""
    return threading.Event()


@pytest.fixture
def taken(queue: WorkQueue, gate: threading.Event) -> Iterator[threading.Semaphore]:
    """Released for each item that one of eight threads takes; they wait a minute for it."""
    taken = threading.Semaphore(0)

    def get() -> None:
        while (item := queue.get(timeout=60)) is not None:
            taken.release()
            if item == "long":
                gate.wait(PATIENCE)

    threads = [started(get) for _ in range(8)]
    yield taken
    gate.set()
    for _ in threads:
        queue.put(None)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_no_wake_up_is_lost(queue: WorkQueue, taken: threading.Semaphore) -> None:
    for round_ in range(500):
        burst = 1 + round_ % 8
        for _ in range(burst):
            queue.put(round_)
        for _ in range(burst):
            assert taken.acquire(timeout=PATIENCE), f"round {round_}: an item waits beside idle threads"


def test_as_many_threads_wake_as_there_are_long_items(queue: WorkQueue, taken: threading.Semaphore) -> None:
    for _ in range(8):
        queue.put("long")
    for number in range(8):
        assert taken.acquire(timeout=PATIENCE), f"only {number} threads were woken for 8 items"


def test_a_thread_that_is_interrupted_while_it_waits_takes_no_wake_up_with_it(queue: WorkQueue) -> None:
    taken = threading.Semaphore(0)

    def get() -> None:
        try:
            while queue.get(timeout=0.2 if threading.current_thread() in victims else 60) is not None:
                taken.release()
        except (Empty, Interrupt):
            pass

    for _ in range(10):
        victims: set[threading.Thread] = set()
        survivor = started(get)
        victim = threading.Thread(target=get, daemon=True)
        victims.add(victim)
        victim.start()
        wait_for("both wait", lambda: len(queue._idle) == 2)
        raise_thread_exception(victim.ident, Interrupt)
        victim.join(PATIENCE)
        assert not victim.is_alive()
        queue.put("item")
        assert taken.acquire(timeout=PATIENCE)
        queue.put(None)
        survivor.join(PATIENCE)
        assert not survivor.is_alive()


def test_what_is_taken_back_leaves_the_rest_in_order(queue: WorkQueue) -> None:
    def item(queue_name: str, claimed_at: float) -> Any:
        return SimpleNamespace(message=SimpleNamespace(queue_name=queue_name, claimed_at=claimed_at))

    first, late, other, last = item("a", 1), item("a", 9), item("b", 1), item("a", 2)
    for each in (first, late, other, last):
        queue.put(each)
    assert queue.take_back("a", 5) == [first.message, last.message]
    assert list(iter_queue(queue)) == [late, other]
