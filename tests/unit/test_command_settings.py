"""Commands that pass settings on to the processes they start keep the order of the sources."""

from pathlib import Path

import pytest

from lockstep.cli import up, verify
from lockstep.settings import Settings


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (*up._DEFAULTS, "REDIS_URL", "METRICS_TOKEN", "METRICS_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_defaults_of_up_fill_in_only_what_no_source_has(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "threads").write_text("9\n")
    (directory / ".env").write_text("WORKER_PROCESSES=3\nWORKER_CONCURRENCY_FILE=threads\nSEARCH_INDEX=\n")
    monkeypatch.setenv("LOADTEST_ACTOR", "")
    (directory / "index").write_text("false")
    monkeypatch.setenv("SEARCH_INDEX_FILE", "index")

    settings = Settings.load(up._environment(None, None, None))

    assert (settings.worker_processes, settings.worker_concurrency) == (3, 9)
    assert (settings.search_index, settings.loadtest_actor) == (False, True)
    assert Settings.load(up._environment(7001, 4, None)).worker_processes == 4


def test_verify_passes_no_dotenv_on(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the environment of a process, it would hide the file that the environment names.
    (directory / "token").write_text("of the file")
    (directory / ".env").write_text("METRICS_TOKEN=dotenv\nREDIS_URL=redis://127.0.0.1:1\n")
    monkeypatch.setenv("METRICS_TOKEN_FILE", "token")

    settings, environment = verify._load()

    assert settings.metrics_token == "of the file"
    assert Settings.load(environment) == settings
