"""The invariants of a history, each a function from the history to its violations."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from tests.history.causes import eras, explained, stood_still, zombies
from tests.history.events import Ending, Event, Kind, Write
from tests.history.history import FINISHED, SECOND, Bounds, History, Message, Run

MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken invariant, the messages it is about, and what was seen."""

    invariant: str
    messages: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} {', '.join(self.messages)}: {self.text}"


Check = Callable[[History, Bounds], Iterator[Violation]]


def no_loss(history: History, _: Bounds) -> Iterator[Violation]:
    """I1: every accepted message ends; one whose answer was lost does when it exists at all."""
    for message in history.messages.values():
        if (message.accepted or message.runs) and message.final not in FINISHED:
            yield Violation(
                "I1", (message.id,), f"accepted, but it is {message.final or 'nowhere'} at the end"
            )


def no_phantom(history: History, _: Bounds) -> Iterator[Violation]:
    """I2: whatever runs or is known was sent, with the same group and sequence."""
    for message in history.messages.values():
        if not message.sent:
            yield Violation("I2", (message.id,), "nobody sent it")
            continue
        groups = {event.group for event in message.sent}
        for run in message.runs:
            if run.group not in groups:
                yield Violation(
                    "I2", (message.id,), f"ran in group {run.group!r}, not {message.sent[0].group!r}"
                )
            if None not in (run.sequence, message.sequence) and run.sequence != message.sequence:
                yield Violation(
                    "I2", (message.id,), f"ran with sequence {run.sequence}, not {message.sequence}"
                )


def fences_rise(history: History, bounds: Bounds) -> Iterator[Violation]:
    """I3: in a group each run has a higher fence than all before it."""
    for runs in history.groups.values():
        stale = zombies(history, bounds, runs)
        for run, later in pairwise(run for run in runs if run.id not in stale and run.fence is not None):
            assert run.fence is not None and later.fence is not None
            if later.fence <= run.fence:
                text = f"fence {later.fence} started after fence {run.fence}"
                yield Violation("I3", (run.message, later.message), text)


def runs_disjoint(history: History, bounds: Bounds) -> Iterator[Violation]:
    """I4: in a group one run ends before the next begins, save one that stood still past its lease."""
    for runs in history.groups.values():
        running: list[Run] = []
        for run in runs:
            running = [other for other in running if other.ended > run.started]
            for other in running:
                zombie, holder = sorted((run, other), key=lambda each: each.rank)
                if not stood_still(history, bounds, zombie, holder):
                    text = (
                        f"ran at once in {other.pid} (fence {other.fence}) and {run.pid} (fence {run.fence})"
                    )
                    yield Violation("I4", (other.message, run.message), text)
            running.append(run)


def fence_guards(history: History, _: Bounds) -> Iterator[Violation]:
    """I4: no write counts after one with a higher fence, none counts twice, none is missing."""
    for runs in history.groups.values():
        writes = sorted((write for run in runs for write in run.effects), key=lambda write: write.at)
        counted = [write for write in writes if write.outcome == Write.APPLIED]
        for write, later in pairwise(counted):
            if write.fence is not None and later.fence is not None and later.fence <= write.fence:
                text = f"a write with fence {later.fence} counted after one with {write.fence}"
                yield Violation("I4", (write.message, later.message), text)
        yield from _each_once(history, writes)


def _each_once(history: History, writes: list[Event]) -> Iterator[Violation]:
    # A process that dies between its write and the record of it leaves only the repetition as a witness.
    repeated = {write.message for write in writes if write.outcome == Write.REPEATED}
    counted = Counter(write.message for write in writes if write.outcome == Write.APPLIED)
    for id_ in sorted({write.message for write in writes}):
        times = counted[id_]
        if times > 1 or (times == 0 and id_ not in repeated and history.messages[id_].final == "done"):
            yield Violation("I4", (id_,), f"its effect counted {times} times")


def acceptance_order(history: History, _: Bounds) -> Iterator[Violation]:
    """I5: who was accepted before another was sent has the lower sequence, in a producer and in a group."""
    accepted = [e for e in history.of(Kind.ACCEPTED) if e.sequence is not None and not e.duplicate]
    for producer in {event.producer for event in accepted}:
        yield from _rising([event for event in accepted if event.producer == producer])
    for group in {event.group for event in accepted if event.group is not None}:
        pending = [event for event in accepted if event.group == group]
        for event in pending:
            sent = history.messages[event.message].sent
            earlier = [other for other in pending if sent and other.at < sent[0].at]
            highest = max(earlier, key=lambda other: other.sequence or 0, default=None)
            if highest is not None and (highest.sequence or 0) >= (event.sequence or 0):
                text = (
                    f"sent after {highest.message} was accepted with {highest.sequence}, got {event.sequence}"
                )
                yield Violation("I5", (highest.message, event.message), text)


def _rising(accepted: list[Event]) -> Iterator[Violation]:
    for event, later in pairwise(accepted):
        if (later.sequence or 0) <= (event.sequence or 0):
            text = f"one producer got sequence {event.sequence}, then {later.sequence}"
            yield Violation("I5", (event.message, later.message), text)


def first_starts(history: History, bounds: Bounds) -> Iterator[Violation]:
    """I6: in a group, messages start for the first time, and take effect, in order of their sequence."""
    for runs in history.groups.values():
        stale = zombies(history, bounds, runs)
        firsts: dict[str, int] = {}
        for run in runs:
            if run.id not in stale:
                firsts.setdefault(run.message, run.started)
        yield from _in_sequence(history, firsts, "started")
        writes = [write for run in runs for write in run.effects if write.outcome == Write.APPLIED]
        yield from _in_sequence(history, {write.message: write.at for write in writes}, "took effect")


def _in_sequence(history: History, moments: dict[str, int], did: str) -> Iterator[Violation]:
    known = [history.messages[id_] for id_ in sorted(moments, key=lambda id_: moments[id_])]
    for message, later in pairwise(message for message in known if message.sequence is not None):
        assert message.sequence is not None and later.sequence is not None
        if later.sequence < message.sequence:
            text = f"sequence {later.sequence} {did} after {message.sequence}"
            yield Violation("I6", (message.id, later.id), text)


def no_overtaking(history: History, bounds: Bounds) -> Iterator[Violation]:
    """I7: between the first start of a message and its end, no other of its group starts."""
    for runs in history.groups.values():
        stale = zombies(history, bounds, runs)
        live = [run for run in runs if run.id not in stale]
        for since, until in pairwise([0, *eras(history), inf]):
            yield from _overtaken(history, [run for run in live if since <= run.started < until])


def _overtaken(history: History, runs: list[Run]) -> Iterator[Violation]:
    by_message: dict[str, list[Run]] = {}
    for run in runs:
        by_message.setdefault(run.message, []).append(run)
    spans = {id_: _span(history.messages[id_], its) for id_, its in by_message.items()}
    for run in runs:
        for id_, (since, until) in spans.items():
            if id_ != run.message and since < run.started < until:
                yield Violation("I7", (id_, run.message), f"{run.message} started before {id_} had ended")


def _span(message: Message, runs: list[Run]) -> tuple[float, float]:
    # A run of a later era is not the one that ended it in this one.
    is_last = runs[-1].started == message.runs[-1].started
    return runs[0].started, message.ended if is_last else max(runs, key=lambda run: run.rank).ended


def one_completion(history: History, _: Bounds) -> Iterator[Violation]:
    """I8: a message ends in one state, done only after a run that was, and the store counts the same."""
    done = 0
    for message in history.messages.values():
        states = {event.outcome for event in message.finals}
        if len(states) > 1:
            yield Violation("I8", (message.id,), f"has several final states: {', '.join(sorted(states))}")
        if message.final == "done":
            done += 1
            last = max(message.runs, key=lambda run: run.rank, default=None)
            if last is None or last.ending is not Ending.DONE:
                text = f"completed, but its last run was {last.ending if last else 'none'}"
                yield Violation("I8", (message.id,), text)
    for event in history.of(Kind.DRAINED):
        if event.completed is not None and event.completed != done:
            yield Violation(
                "I8", (), f"the store counts {event.completed} completions of {done} done messages"
            )


def extra_runs_explained(history: History, bounds: Bounds) -> Iterator[Violation]:
    """I9: every run after the first of a message has a recorded cause."""
    for message in history.messages.values():
        for run, again in pairwise(message.runs):
            if not explained(history, bounds, run, again):
                later = (again.started - run.started) / SECOND
                text = f"ran again {later:.3f} s later, though it was {run.ending}"
                yield Violation("I9", (message.id,), text)


def retries_wait(history: History, _: Bounds) -> Iterator[Violation]:
    """I11: a retry starts no earlier than its back-off allows."""
    for message in history.messages.values():
        for run, again in pairwise(message.runs):
            if run.ending is Ending.FAILED and again.started < run.ended + run.retry_ms * MILLISECOND:
                waited = (again.started - run.ended) / MILLISECOND
                yield Violation("I11", (message.id,), f"retried after {waited:.1f} of {run.retry_ms} ms")


def delays_wait(history: History, _: Bounds) -> Iterator[Violation]:
    """I12: a delayed message starts no earlier than it is due."""
    for message in history.messages.values():
        for sent in message.sent[:1]:
            for run in message.runs[:1]:
                if run.started < sent.at + sent.delay_ms * MILLISECOND:
                    waited = (run.started - sent.at) / MILLISECOND
                    yield Violation("I12", (message.id,), f"started after {waited:.1f} of {sent.delay_ms} ms")


def dead_letters_whole(history: History, _: Bounds) -> Iterator[Violation]:
    """I13: a dead letter keeps its group, sequence, attempts and last error."""
    for message in history.messages.values():
        for final in message.finals[-1:]:
            if final.outcome == "dead":
                yield from _whole(message, final)


def _whole(message: Message, final: Event) -> Iterator[Violation]:
    groups = {event.group for event in message.sent}
    if message.sent and final.group not in groups:
        yield Violation("I13", (message.id,), f"dead in group {final.group!r}")
    if message.sequence is not None and final.sequence != message.sequence:
        yield Violation("I13", (message.id,), f"dead with sequence {final.sequence}, not {message.sequence}")
    if final.attempts is not None and final.attempts < len(message.runs):
        yield Violation("I13", (message.id,), f"dead with {final.attempts} of {len(message.runs)} attempts")
    if message.runs and message.runs[-1].ending in {Ending.FAILED, Ending.PERMANENT} and not final.error:
        yield Violation("I13", (message.id,), "dead without its last error")


def drained_in_time(history: History, bounds: Bounds) -> Iterator[Violation]:
    """I16: everything is drained within the bound after the last fault and the last send."""
    moments = [fault.until for fault in history.faults]
    moments += [event.at for event in history.of(Kind.SENT)]
    drained = min((event.at for event in history.of(Kind.DRAINED)), default=inf)
    late = (drained - max(moments, default=0)) / SECOND
    if late > bounds.drain:
        took = "never" if late == inf else f"only {late:.1f} s after the last fault"
        yield Violation("I16", (), f"drained {took}; the bound is {bounds.drain:.0f} s")


ALL: tuple[Check, ...] = (
    no_loss,
    no_phantom,
    fences_rise,
    runs_disjoint,
    fence_guards,
    acceptance_order,
    first_starts,
    no_overtaking,
    one_completion,
    extra_runs_explained,
    retries_wait,
    delays_wait,
    dead_letters_whole,
    drained_in_time,
)
