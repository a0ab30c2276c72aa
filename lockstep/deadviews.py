"""Dead letters as plain values, with the names that HTTP and the commands show."""

from typing import Any

from lockstep.deadletters import Changed, DeadKind, DeadLetter, Page
from lockstep.views import rfc3339


def letter_view(letter: DeadLetter) -> dict[str, Any]:
    """One dead letter, in short."""
    return {
        "id": letter.id,
        "queue": letter.queue,
        "actor": letter.actor,
        "group": letter.group,
        "sequence": letter.sequence,
        "enqueued_at": rfc3339(letter.enqueued_ms),
        "died_at": rfc3339(letter.died_ms),
        "reason": letter.reason,
        "error": letter.error,
        "message": letter.message,
        "fingerprint": letter.fingerprint,
        "failures": letter.failures,
        "crashes": letter.crashes,
        "redriven": letter.redriven,
    }


def page_view(page: Page) -> dict[str, Any]:
    """A page of them."""
    return {"items": [letter_view(one) for one in page.items], "next_cursor": page.next_cursor}


def kind_view(kind: DeadKind) -> dict[str, Any]:
    """Those of one kind."""
    return {
        "queue": kind.queue,
        "actor": kind.actor or None,
        "error": kind.error,
        "fingerprint": kind.fingerprint,
        "count": kind.count,
        "oldest_at": rfc3339(kind.oldest_ms),
        "newest_at": rfc3339(kind.newest_ms),
        "example": {"id": kind.example, "message": kind.message},
    }


def changed_view(changed: Changed, verb: str, *, dry_run: bool) -> dict[str, Any]:
    """What a call redrove or discarded; ``verb`` names the number."""
    return {
        "matched": changed.matched,
        verb: changed.changed,
        "missing": changed.missing,
        "next_cursor": changed.next_cursor,
        "dry_run": dry_run,
    }
