"""Settings: where they come from, and how mistakes and secrets are shown."""

from pathlib import Path

import pytest

from lockstep.errors import InvalidSettings
from lockstep.settings import DOCUMENTED, Settings


def load(**environment: str) -> Settings:
    return Settings.load(environment, env_file="")


def test_defaults_need_nothing() -> None:
    settings = load()

    assert (settings.port, settings.redis_address, settings.bind_host) == (7777, None, "127.0.0.1")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(PORT="x", LEASE_SECONDS="0s", REDIS_URL="http://x", BACKOFF="sometimes", LOG_FORMAT="xml")

    assert set(caught.value.problems) == {"PORT", "LEASE_SECONDS", "REDIS_URL", "BACKOFF", "LOG_FORMAT"}
    assert all(name in str(caught.value) for name in caught.value.problems)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-file\n")

    assert load(METRICS_TOKEN_FILE=str(secret)).metrics_token == "from-file"
    assert load(METRICS_TOKEN_FILE=str(secret), METRICS_TOKEN="direct").metrics_token == "direct"


def test_a_missing_file_is_a_mistake_of_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(METRICS_TOKEN_FILE=str(tmp_path / "none"))

    assert set(caught.value.problems) == {"METRICS_TOKEN"}


def test_the_environment_wins_over_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=1111\nMAX_CRASHES=7\n")

    settings = Settings.load({"PORT": "2222"}, env_file=str(dotenv))

    assert (settings.port, settings.max_crashes) == (2222, 7)


@pytest.mark.parametrize("name", ["WORKER_QUEUES", "ACTOR_MODULES", "RATE_LIMITS", "CONCURRENCY_LIMITS"])
def test_a_list_without_an_entry_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name}: expected"):
        Settings.load({name: ", ,"}, env_file="")


def test_secrets_are_masked() -> None:
    secrets = {
        "REDIS_URL": "redis://:hidden@example.org:6379/0",
        "API_KEYS": "ci:enqueue+read:hidden",
        "METRICS_TOKEN": "hidden",
        "DELIVERY_URL": "https://user:hidden@example.org",
        "DELIVERY_SECRET": "whsec_aGlkZGVuIGhpZGRlbg==",
    }
    settings = load(**secrets)

    assert all(settings.masked()[name] == "********" for name in secrets)
    assert "hidden" not in repr(settings)
    assert settings.masked()["PORT"] == "7777"


def test_keys_open_the_web_process_to_others() -> None:
    assert load(API_KEYS="ci:enqueue:secret").bind_host == "0.0.0.0"
    assert load(API_KEYS="ci:enqueue:secret", HOST="10.0.0.1").bind_host == "10.0.0.1"


def test_a_dyno_drains_in_the_time_it_is_given() -> None:
    assert load(DYNO="worker.1").worker_shutdown_timeout == 20
    assert load(DYNO="worker.1").instance_id == "worker.1"
    assert load(DYNO="worker.1", WORKER_SHUTDOWN_TIMEOUT="25s").worker_shutdown_timeout == 25


def test_every_setting_has_a_meaning() -> None:
    assert all(meaning for _, _, meaning in DOCUMENTED)
