"""Whether one group of a run was kept in order, lost and doubled nothing: judged by the records of its messages.

Pure: it is given records as ``GET /api/v1/messages/{id}`` answers them, in the order in which their messages were sent,
and remembers one at a time.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from lockstep.loadtest.latencies import Latencies

#: Findings that are told in words.
_EXAMPLES: Final = 10

#: States from which a message does not go on by itself.
FINAL: Final = frozenset({"done", "dead", "cancelled"})


@dataclass(slots=True)
class Verdict:
    """What was found over all groups."""

    checked: int = 0  #: messages
    found: Counter[str] = field(default_factory=Counter)  #: violations by kind, see ``KINDS``
    unfinished: int = 0  #: messages that wait or run
    extra: Counter[str] = field(default_factory=Counter)  #: attempts beside the completed one, by outcome
    examples: list[str] = field(default_factory=list)
    wait: Latencies = field(default_factory=Latencies)  #: milliseconds from acceptance to the first start
    latency: Latencies = field(default_factory=Latencies)  #: milliseconds from acceptance to the end

    def report(self, kind: str, what: str) -> None:
        """Count a violation."""
        self.found[kind] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{kind}: {what}")


#: Kinds of violations, and what each means.
KINDS: Final = {
    "lost": "accepted, and not there any more",
    "not done": "dead or cancelled",
    "doubled": "completed more than once",
    "group": "in another group than it was sent to",
    "sequence": "accepted later than one that was sent after it",
    "order": "started before one that was sent before it",
    "overlap": "started while another of its group ran",
}


class GroupCheck:
    """Takes the records of one group, in the order of sending."""

    def __init__(self, group: str, verdict: Verdict) -> None:
        self._group = group
        self._verdict = verdict
        self._before = ""
        self._sequence = 0
        self._first_start = 0
        self._end = 0

    def add(self, message_id: str, record: dict[str, Any] | None) -> None:
        """The next record; None: there is none, though its message was accepted."""
        verdict = self._verdict
        verdict.checked += 1
        if record is None:
            verdict.report("lost", f"{message_id} of {self._group}")
            return
        if record["state"] not in FINAL:
            verdict.unfinished += 1
        elif record["state"] != "done":
            verdict.report("not done", f"{message_id} of {self._group} is {record['state']}")
        self._check_attempts(message_id, record)
        self._check_place(message_id, record)

    def _check_attempts(self, message_id: str, record: dict[str, Any]) -> None:
        outcomes = Counter(one["outcome"] for one in record["attempts"])
        completed = outcomes.pop("done", 0)
        outcomes.pop("running", None)
        self._verdict.extra.update(outcomes)
        if completed > 1:
            self._verdict.report("doubled", f"{message_id} of {self._group} was completed {completed} times")
        elif record["state"] == "done" and not completed:
            self._verdict.report("lost", f"{message_id} of {self._group} is done, but no attempt of it is")

    def _check_place(self, message_id: str, record: dict[str, Any]) -> None:
        if record["group"] != self._group:
            self._verdict.report("group", f"{message_id} is in {record['group']!r}, not in {self._group!r}")
        sequence = record["sequence"]
        if sequence is not None:
            if sequence <= self._sequence:
                what = f"{message_id} is number {sequence}, {self._before} before it {self._sequence}"
                self._verdict.report("sequence", what)
            self._sequence = sequence
        attempts = [one for one in record["attempts"] if one["started_at"]]
        if attempts:
            self._check_runs(message_id, [(_ms(one["started_at"]), _ms(one["ended_at"])) for one in attempts])
            if record["state"] == "done":
                accepted = _ms(record["enqueued_at"])
                self._verdict.wait.add(_ms(attempts[0]["started_at"]) - accepted)
                self._verdict.latency.add(self._end - accepted)
        self._before = message_id

    def _check_runs(self, message_id: str, runs: list[tuple[int, int]]) -> None:
        """All times are the server's, in whole milliseconds: the next may start in the one in which the last ended."""
        if runs[0][0] < self._first_start:
            self._verdict.report(
                "order", f"{message_id} started before {self._before}, which was sent before it"
            )
        for start, end in runs:
            if start < self._end:
                what = f"{message_id} started {self._end - start} ms before the run before it had ended"
                self._verdict.report("overlap", f"{what} (after {self._before or 'nothing'})")
            self._end = max(self._end, end or start)
        self._first_start = max(self._first_start, runs[0][0])


def _ms(text: str | None) -> int:
    """Milliseconds since 1970; 0 for what has not been."""
    return 0 if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
