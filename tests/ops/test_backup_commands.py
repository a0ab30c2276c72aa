"""What operators type: export, import, fsck."""

import json
from pathlib import Path

from lockstep.records import NewMessage
from lockstep.states import MessageState
from lockstep.store import Store
from tests.ops.test_commands import Run, environment, run  # noqa: F401  (fixtures)


def fill(store: Store) -> None:
    store.enqueue("q", [NewMessage(id=f"m{n}", actor="act", payload=b"1", group="a") for n in range(3)])
    store.enqueue("other", [NewMessage(id="late", actor="act", payload=b"p", group=None, delay_ms=3_600_000)])


def lose_everything(store: Store) -> None:
    for key in store.command("KEYS", f"{{{store.settings.queue_namespace}*"):
        store.command("DEL", key)


def test_export_and_import(run: Run, store: Store, tmp_path: Path) -> None:  # noqa: F811
    fill(store)
    file = tmp_path / "backup.jsonl"
    ended = run("export", str(file))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"4 exported to {file}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["backup.jsonl"]
    assert len(run("export", "-", "--queue", "q").stdout.splitlines()) == 4
    assert json.loads(run("export", str(tmp_path / "b"), "--state", "scheduled", "--json").stdout) == {
        "exported": 1,
        "left": 0,
    }
    assert run("import", str(file)).stdout == "0 restored, 4 known already\n"

    lose_everything(store)
    store.enqueue("q", [NewMessage(id="new", actor="act", payload=b"1", group="a")])
    shown = run("import", "-", stdin=file.read_text())
    assert shown.stdout.splitlines() == [
        "4 restored, 0 known already",
        "1 groups had other messages: what was restored is behind them",
    ]
    assert store.counts("q").messages[MessageState.WAITING] == 4
    assert store.message("late").state is MessageState.SCHEDULED
    told = json.loads(run("import", str(file), "--json").stdout)
    assert told == {"restored": 0, "known": 4, "joined": 0, "let_go": 0}


def test_what_cannot_be_exported_or_imported_is_told(run: Run, store: Store, tmp_path: Path) -> None:  # noqa: F811
    fill(store)
    file = tmp_path / "wrong.jsonl"
    assert run("export", str(file), "--queue", "nosuch").returncode == 1
    assert run("export", str(file), "--state", "done").returncode == 2
    assert not file.exists()
    assert run("import", str(file)).returncode == 2
    file.write_text(run("export", "-").stdout + '{"id": 5}\n')
    refused = run("import", str(file))
    assert refused.returncode == 2
    assert "line 6 /state" in refused.stderr


def test_fsck(run: Run, store: Store) -> None:  # noqa: F811
    fill(store)
    ended = run("fsck")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Nothing is wrong: ")
    assert run("fsck", "--queue", "nosuch").returncode == 1

    store.command("DEL", store.shard_of("q", "a", "").prefix + "ready")
    wrong = run("fsck")
    assert wrong.returncode == 1
    assert "nowhere" in wrong.stdout
    told = run("fsck", "--json")
    assert told.returncode == 1
    expected = [{"queue": "q", "what": "group", "name": "g:a", "where": None, "fault": "nowhere"}]
    view = json.loads(told.stdout)
    assert (view["found"], view["repaired"], view["left"], view["unchecked"]) == (expected, [], expected, [])
    assert json.loads(run("fsck", "--queue", "other", "--json").stdout)["found"] == []

    mended = run("fsck", "--repair")
    assert mended.returncode == 0
    assert "Repaired" in mended.stdout
    assert mended.stdout.endswith("All of it is repaired.\n")
    assert run("fsck").returncode == 0
