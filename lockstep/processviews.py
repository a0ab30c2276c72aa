"""Processes as plain values, with the names that HTTP and the commands show."""

from typing import Any

from lockstep.processes import ProcessRecord
from lockstep.views import rfc3339


def process_view(record: ProcessRecord) -> dict[str, Any]:
    """One process: what it is, whether it is ready, what it does."""
    return {
        "name": record.name,
        "type": record.type.value,
        "role": record.role,
        "instance": record.instance,
        "host": record.host,
        "pid": record.pid,
        "master_pid": record.master_pid,
        "boot": record.boot,
        "version": record.version,
        "state": record.state.value,
        "queues": list(record.queues),
        "busy": record.busy,
        "capacity": record.capacity,
        "done": record.done,
        "memory_bytes": record.memory_bytes,
        "started_at": rfc3339(record.started_ms),
        "seen_seconds": record.seen_ms / 1000,
    }
