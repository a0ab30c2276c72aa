"""The address of Redis: parsed once, options by a list, and no part of a password in any error."""

import itertools
import traceback
from pathlib import Path

import certifi
import pytest

from lockstep.errors import InvalidSettings
from lockstep.link import make_pool
from lockstep.redis_address import OPTIONS, RedisAddress
from lockstep.settings import Settings

SECRET = "S3CRET"
CA = certifi.where()


def load(url: str, **others: str) -> Settings:
    return Settings.load({"REDIS_URL": url, **others}, env_file="")


def refused(url: str, **others: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load(url, **others)
    # As a traceback shows it, with all that led to it.
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress(host="h")),
        ("redis://h/", RedisAddress(host="h")),
        ("redis://h:", RedisAddress(host="h")),
        (" redis://h:1/2\n", RedisAddress(host="h", port=1, db=2)),
        ("REDIS://H:65535", RedisAddress(host="h", port=65535)),
        ("RedisS://h", RedisAddress(host="h", tls=True)),
        ("redis://[::1]:7000/3", RedisAddress(host="::1", port=7000, db=3)),
        ("redis://my_redis.internal.:7000", RedisAddress(host="my_redis.internal.", port=7000)),
        ("redis://u:p@h", RedisAddress(host="h", username="u", password="p")),
        ("redis://:p@h", RedisAddress(host="h", password="p")),
        ("redis://u:@h", RedisAddress(host="h", username="u", password="")),
        ("redis://:@h", RedisAddress(host="h")),
        ("redis://u:p%40%2F%3A%25%20@h", RedisAddress(host="h", username="u", password="p@/:% ")),
        ("redis://u%3A:p:q@h", RedisAddress(host="h", username="u:", password="p:q")),
        ("redis://u:p@q@h", RedisAddress(host="h", username="u", password="p@q")),
        ("redis://u:пароль@h", RedisAddress(host="h", username="u", password="пароль")),
        ("redis://h?db=4", RedisAddress(host="h", db=4)),
        ("redis://h/4?db=4&", RedisAddress(host="h", db=4)),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", RedisAddress(host="h", tls=True, verified=False)),
        ("rediss://h/1?ssl_cert_reqs=required", RedisAddress(host="h", db=1, tls=True, verified=True)),
        (f"rediss://h?ssl_ca_certs={CA}", RedisAddress(host="h", tls=True, ca_file=CA)),
    ],
)
def test_what_a_url_says(url: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"redis://user:{SECRET}/ss@host", "percent-encoded"),
        (f"redis://user:{SECRET}#ss@host", "percent-encoded"),
        (f"redis://user:{SECRET}?ss@host", "percent-encoded"),
        (f"redis://user:12/{SECRET}@host", "percent-encoded"),
        (f"redis://user:12?{SECRET}=1@host", "percent-encoded"),
        (f"redis://user:a@b/{SECRET}@host:1/0", "percent-encoded"),
        (f"redis://user:{SECRET}%zz@host", "%25"),
        (f"redis://user:{SECRET}%@host", "%25"),
        (f"redis://user:{SECRET}%ff@host", "UTF-8"),
        (f"redis://user:{SECRET} x@host", "blanks"),
        (f"redis://user:{SECRET}\n@host", "blanks"),
        (f"redis://user:{SECRET}\x00@host", "blanks"),
        (f"redis://{SECRET}@host", "a user without a password"),
        (f"redis://user:{SECRET}", "the port"),
        (f"redis://user:{SECRET}?{SECRET}=1", "the port"),
        (f"redis://user:{SECRET}@", "host"),
        (f"redis://user:{SECRET}@host:99999", "the port"),
        (f"redis://user:{SECRET}@host:0", "the port"),
        (f"redis://user:{SECRET}@host:abc", "the port"),
        (f"redis://user:{SECRET}@host:-1", "the port"),
        (f"redis://user:{SECRET}@host:٦٣٧٩", "the port"),
        (f"redis://user:{SECRET}@host:1:2", "host"),
        (f"redis://user:{SECRET}@ho st", "blanks"),
        (f"redis://user:{SECRET}@hö", "host"),
        (f"redis://user:{SECRET}@h%41", "host"),
        (f"redis://user:{SECRET}@[::1", "host"),
        (f"redis://user:{SECRET}@[nope]", "host"),
        (f"redis://user:{SECRET}@::1", "host"),
        (f"redis://user:{SECRET}@a,b:1", "one server"),
        (f"redis://user:{SECRET}@a,redis://user:{SECRET}@b", ""),
        (f"redis://user:{SECRET}@host/lockstep", "database"),
        (f"redis://user:{SECRET}@host/-1", "database"),
        (f"redis://user:{SECRET}@host/1/2", "database"),
        (f"redis://user:{SECRET}@host/1.5", "database"),
        (f"redis://user:{SECRET}@host/²", "database"),
        (f"redis://user:{SECRET}@host/?db=x", "database"),
        (f"redis://user:{SECRET}@host/1?db=2", "different databases"),
        (f"redis://user:{SECRET}@host/1?db=1&db=1", "option db is given twice"),
        (f"redis://user:{SECRET}@host?protocol=3", "option protocol is not supported"),
        (f"redis://user:{SECRET}@host?timeout=5", "REDIS_TIMEOUT"),
        (f"redis://user:{SECRET}@host?password={SECRET}", "option password is not supported"),
        (f"redis://user:{SECRET}@host?%70rotocol=3", "an option is not supported"),
        (f"redis://user:{SECRET}@host?ssl_cert_reqs=required", "needs TLS"),
        (f"rediss://user:{SECRET}@host?ssl_cert_reqs=maybe", "required or none"),
        (f"rediss://user:{SECRET}@host?ssl_cert_reqs=", "required or none"),
        (f"rediss://user:{SECRET}@host?ssl_ca_certs=/none.pem", "certificates"),
        (f"rediss://user:{SECRET}@host?ssl_ca_certs=setup.cfg", "certificates"),
        (f"rediss://user:{SECRET}@host?ssl_ca_certs=", "certificates"),
        (f"rediss://user:{SECRET}@host?ssl_ca_certs=%00", "certificates"),
        (f"unix://user:{SECRET}@/run/redis.sock", "sockets"),
        (f"redis+sentinel://user:{SECRET}@host", "Sentinel"),
        (f"valkeys://user:{SECRET}@host", "rediss://"),
        (f'"redis://user:{SECRET}@host"', "without quotes"),
        (f"http://user:{SECRET}@host", "expected redis://"),
        (f"user:{SECRET}@host:6379", "expected redis://"),
        (f"redis:user:{SECRET}@host", "expected redis://"),
        (SECRET, "expected redis://"),
        ("redis://", "host"),
        (" ", "expected redis://"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, problem: str) -> None:
    assert problem in refused(url)


@pytest.mark.parametrize("option", ["decode_responses=true", "family=0", "ssl=false", "max_connections=5"])
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_options_that_are_not_supported_are_refused_by_name(scheme: str, option: str) -> None:
    text = refused(f"{scheme}://u:{SECRET}@h?{option}")

    assert f"option {option.partition('=')[0]} is not supported" in text
    assert all(name in text for name in OPTIONS)


def test_no_url_changes_what_the_code_relies_on() -> None:
    fixed = ("protocol", "socket_timeout", "socket_connect_timeout", "retry", "client_name")
    plain = make_pool(load("redis://h"), socket_timeout=1).connection_kwargs
    for options in itertools.chain.from_iterable(itertools.permutations(OPTIONS, n) for n in range(4)):
        values = {"db": "1", "ssl_ca_certs": CA, "ssl_cert_reqs": "none"}
        query = "&".join(f"{name}={values[name]}" for name in options)
        pool = make_pool(load(f"rediss://u:{SECRET}@h?{query}"), socket_timeout=1)

        assert pool.connection_kwargs.keys() - plain.keys() <= {
            "ssl_cert_reqs",
            "ssl_check_hostname",
            "ssl_ca_certs",
        }
        for name in fixed:
            assert type(pool.connection_kwargs[name]) is type(plain[name])
        assert (pool.connection_kwargs["protocol"], pool.max_connections) == (2, 100)
        assert pool.connection_kwargs["db"] == (1 if "db" in options else 0)
        assert pool.connection_kwargs["ssl_check_hostname"] is ("ssl_cert_reqs" not in options)


def test_settings_and_url_agree_on_certificates(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Path(CA).read_bytes())
    assert load("rediss://h?ssl_cert_reqs=none").redis_tls_verify is False
    assert load("rediss://h?ssl_cert_reqs=none", REDIS_TLS_VERIFY="false").redis_tls_verify is False
    assert load(f"rediss://h?ssl_ca_certs={CA}").redis_ca_file == CA
    for settings in (load("rediss://h", REDIS_TLS_VERIFY="false"), load("rediss://h?ssl_cert_reqs=none")):
        assert settings.redis_address is not None
        assert settings.redis_address.verified is False

    text = refused(f"rediss://u:{SECRET}@h?ssl_cert_reqs=none", REDIS_TLS_VERIFY="true")
    assert "REDIS_TLS_VERIFY: contradicts" in text
    text = refused(f"rediss://u:{SECRET}@h?ssl_ca_certs={CA}", REDIS_CA_FILE=str(other))
    assert "REDIS_CA_FILE: contradicts" in text


@pytest.mark.parametrize("given", [{}, {"REDIS_HOST": "h"}, {"REDIS_URL": "redis://h"}], ids=str)
def test_certificates_without_tls_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="REDIS_CA_FILE: has no effect"):
        Settings.load({**given, "REDIS_CA_FILE": CA}, env_file="")


def test_what_kubernetes_sets_for_a_service_called_redis_is_no_port() -> None:
    assert load("redis://h", REDIS_PORT="tcp://10.0.0.1:6379").redis_port == 6379
    with pytest.raises(InvalidSettings, match="REDIS_PORT: "):
        Settings.load({"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:6379"}, env_file="")
    with pytest.raises(InvalidSettings, match="REDIS_PORT: "):
        load("redis://h", REDIS_PORT="none")


def test_host_and_port_are_checked_too() -> None:
    settings = Settings.load({"REDIS_HOST": "::1", "REDIS_PORT": "7000"}, env_file="")
    assert settings.redis_address == RedisAddress(host="::1", port=7000, verified=True)

    for given in (
        {"REDIS_HOST": "h:1"},
        {"REDIS_HOST": "redis://h"},
        {"REDIS_HOST": "a,b"},
        {"REDIS_HOST": " "},
    ):
        with pytest.raises(InvalidSettings, match="REDIS_HOST"):
            Settings.load(given, env_file="")
    for port in ("0", "65536", "abc"):
        with pytest.raises(InvalidSettings, match="REDIS_PORT"):
            Settings.load({"REDIS_HOST": "h", "REDIS_PORT": port}, env_file="")


def test_an_address_is_shown_without_its_password() -> None:
    settings = load(f"redis://u:{SECRET}@h:1/2")

    assert SECRET not in repr(settings.redis_address)
    assert SECRET not in repr(settings)
    assert SECRET not in repr(settings.masked())
