"""Threads that are joined one after the other: none loses the time that the others took."""

import threading
import time

from dramatiq import common

from lockstep.joining import join_all, join_together


def sleeper(seconds: float) -> threading.Thread:
    thread = threading.Thread(target=time.sleep, args=(seconds,), daemon=True)
    thread.start()
    return thread


def test_the_last_of_many_gets_what_is_left_of_the_whole_time() -> None:
    threads = [sleeper(0.5) for _ in range(9)] + [sleeper(2.0)]
    join_together(threads)
    common.join_all(threads, 4_000)  # Dramatiq's: it takes half a second from the time nine times over
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_do_not_end_are_reported_once_at_the_end_of_the_time() -> None:
    late: list[list[bool]] = []
    threads = [sleeper(0.05), sleeper(60), sleeper(0.05)]
    join_together(threads, on_late=lambda: late.append([thread.is_alive() for thread in threads]))
    begun = time.monotonic()
    common.join_all(threads, 500)
    assert late == [[False, True, False]]
    assert 0.5 <= time.monotonic() - begun < 20


def test_no_threads_are_joined_at_once() -> None:
    join_together([])
    assert join_all([], 0)
    assert join_all([sleeper(0.01)], None)
