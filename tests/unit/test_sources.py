"""Where settings come from: the order of the sources, and files that cannot be what they should be."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from lockstep.errors import InvalidSettings
from lockstep.settings import Settings

SECRET = "s3cret"
#: Settings whose loss would open or unsign something, each with a valid text.
GUARDS = {
    "API_KEYS": f"ops:admin:{SECRET}",
    "METRICS_TOKEN": SECRET,
    "DELIVERY_SECRET": "whsec_czNjcmV0czNjcmV0czNjcmV0czNjcmV0",
    "REDIS_URL": f"redis://:{SECRET}@localhost",
    "NOTIFICATION_DSN": f"json://{SECRET}@localhost",
}


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def refused(environment: dict[str, str], dotenv: Path | None = None) -> dict[str, str]:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load(environment, env_file=str(dotenv or ""))
    assert SECRET not in str(caught.value)
    return caught.value.problems


def test_every_combination_of_sources_has_the_documented_order(tmp_path: Path, dotenv: Path) -> None:
    # Each source is absent, empty or has a text of its own; the first that has one counts.
    for name in ("environment", "dotenv"):
        (tmp_path / name).write_text(f"{name}-file\n")
    for inputs in product((None, "", "set"), repeat=4):
        texts = (
            "environment",
            str(tmp_path / "environment"),
            "dotenv",
            str(tmp_path / "dotenv"),
        )
        results = ("environment", "environment-file", "dotenv", "dotenv-file")
        given = [text if one == "set" else one for one, text in zip(inputs, texts, strict=True)]
        names = ("METRICS_TOKEN", "METRICS_TOKEN_FILE")
        environment = {name: text for name, text in zip(names, given[:2], strict=True) if text is not None}
        lines = [f"{name}={text}\n" for name, text in zip(names, given[2:], strict=True) if text is not None]
        dotenv.write_text("".join(lines))

        # The first that is set counts. An empty NAME is skipped; an empty NAME_FILE asks for a secret that is missing.
        counts = (("set",), ("set", ""), ("set",), ("set", ""))
        first = next((n for n, one in enumerate(inputs) if one in counts[n]), None)
        if first is not None and inputs[first] == "":
            assert "METRICS_TOKEN_FILE is empty" in refused(environment, dotenv)["METRICS_TOKEN"], inputs
            continue
        expected = None if first is None else results[first]
        assert Settings.load(environment, env_file=str(dotenv)).metrics_token == expected, inputs


@pytest.fixture
def unusable(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Paths of files that are no secrets, by what is wrong with them."""
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_bytes(b" \r\n\t\n")
    (tmp_path / "latin").write_bytes(SECRET.encode() + b"\xe9")
    (tmp_path / "utf-16").write_text(SECRET, encoding="utf-16")
    (tmp_path / "nul").write_text(SECRET, encoding="utf-16-le")
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with ExitStack() as stack:
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(tmp_path / "sock"))
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        os.write(writing, SECRET.encode())
        (tmp_path / "deleted").write_text(SECRET)
        deleted = stack.enter_context((tmp_path / "deleted").open())
        (tmp_path / "deleted").unlink()
        paths = {name.name: str(name) for name in tmp_path.iterdir() if name.name != ".env"}
        yield {
            **paths,
            "nowhere": str(tmp_path / "nowhere"),
            "a file as a directory": str(tmp_path / "empty" / "x"),
            "substitution": f"/dev/fd/{reading}",
            "proc": f"/proc/self/fd/{reading}",
            "here-document": f"/proc/self/fd/{deleted.fileno()}",
            "device": os.devnull,
            "the secret itself": SECRET,
        }


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_file_that_is_no_secret_is_an_error_of_its_setting(
    unusable: dict[str, str], dotenv: Path, name: str, place: str
) -> None:
    for what, path in unusable.items():
        environment = {f"{name}_FILE": path} if place == "environment" else {}
        dotenv.write_text(f"{name}_FILE={path}\n" if place == ".env" else f"{name}={GUARDS[name]}\n")

        problems = refused(environment, dotenv)

        assert list(problems) == [name], what
        assert f"{name}_FILE" in problems[name], what


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{name}=${{UNKNOWN_TO_ALL}}", "not set"),
        ("{name}=${{UNKNOWN_TO_ALL}}{text}", "not set"),
        ("EMPTY=\n{name}={text}${{EMPTY}}", "not set"),
        ("{name}={text}\n{name}=", "remove one"),
        ("{name}={text}\n{name}", "has no ="),
        ("{name}_FILE=${{UNKNOWN_TO_ALL}}", "not set"),
        ("{name}", "has no ="),
        ("{name}_FILE", "has no ="),
        ('{name}="{text}', "line 2"),
        ("{name}: {text}", "line 2"),
        ("{name}='{text}' x", "line 2"),
        ("{name} {text}", "line 2"),
        ('{name}=" "', ""),
        ("""{name}='"{text}"'""", ""),
    ],
)
def test_a_line_that_loses_a_secret_is_an_error(dotenv: Path, name: str, line: str, problem: str) -> None:
    dotenv.write_text("# Settings\n" + line.format(name=name, text=GUARDS[name]) + "\nPORT=7778\n")

    assert problem in "".join(refused({}, dotenv).values())


def test_variables_that_are_set_or_have_a_default_are_filled_in(dotenv: Path) -> None:
    dotenv.write_text(
        "PART=a\nMETRICS_TOKEN=${PART}${UNKNOWN_TO_ALL:-b}\nDELIVERY_SECRET=${UNKNOWN_TO_ALL:-}\n"
    )

    settings = Settings.load({}, env_file=str(dotenv))

    assert (settings.metrics_token, settings.delivery_secret) == ("ab", None)


def test_a_lost_line_does_not_matter_when_another_source_or_line_has_the_setting(dotenv: Path) -> None:
    dotenv.write_text("METRICS_TOKEN\nSOMEBODY_ELSES\nDELIVERY_SECRET\nDELIVERY_SECRET=AAAA\n")

    settings = Settings.load({"METRICS_TOKEN": "a"}, env_file=str(dotenv))

    assert (settings.metrics_token, settings.delivery_secret) == ("a", "AAAA")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("DELIVERY_URL=http://é\n".encode("utf-16"), "is not UTF-8"),
        ("PORT=1\n".encode("utf-16-le"), "is not UTF-8"),
        ("PORT=1\n".encode("utf-16-be"), "is not UTF-8"),
        ("PORT=1\n".encode("utf-32"), "is not UTF-8"),
        ("INSTANCE_ID=café\n".encode("cp1252"), "is not UTF-8"),
        (f"METRICS_TOKEN={SECRET}\xe9\n".encode("latin-1"), "is not UTF-8"),
        (b"PORT=1\0\n", "is not UTF-8"),
        (b"#" * ((1 << 20) + 1), "bytes"),
    ],
)
def test_dotenv_in_another_encoding_is_refused(dotenv: Path, data: bytes, problem: str) -> None:
    dotenv.write_bytes(data)

    assert problem in refused({}, dotenv)[str(dotenv)]


def test_dotenv_with_a_mark_of_utf_8_is_read_whole(dotenv: Path) -> None:
    dotenv.write_bytes("\ufeffMETRICS_TOKEN=a\r\nINSTANCE_ID=café\r\n".encode())

    settings = Settings.load({}, env_file=str(dotenv))

    assert (settings.metrics_token, settings.instance_id) == ("a", "café")


def test_dotenv_must_be_a_file_that_can_be_read_again(tmp_path: Path, dotenv: Path) -> None:
    os.mkfifo(dotenv)
    assert "regular file" in refused({}, dotenv)[str(dotenv)]

    for other in (tmp_path, Path(os.devnull), tmp_path / "none"):  # a virtual environment, hidden, absent
        assert Settings.load({}, env_file=str(other)).port == 7777


@pytest.mark.parametrize("name", ["API_KEYS", "METRICS_TOKEN", "INSTANCE_ID", "DATA_DIR", "DELIVERY_SECRET"])
def test_text_that_is_not_utf_8_is_refused(name: str) -> None:
    assert "is not UTF-8" in refused({name: f"ops:admin:{SECRET}\udcff"})[name]


@pytest.mark.parametrize("name", ["DATA_DIR", "APP_ENV", "PORT", "HOST", "QUEUE_NAMESPACE", "LOG_FORMAT"])
def test_literal_quotes_are_refused(name: str) -> None:
    # `docker run --env-file` passes them on.
    for quote in "\"'":
        assert name in refused({name: f"{quote}production{quote}"})


@pytest.mark.parametrize("name", ['say "hi"', "it's", "a\nb", "a\tb", " a", "a ", "x" * 201, "\x1b[2J"])
def test_names_of_processes_are_printable(name: str) -> None:
    assert "INSTANCE_ID" in refused({"INSTANCE_ID": name})
    assert "INSTANCE_ID" in refused({"DYNO": name})
    assert Settings.load({"INSTANCE_ID": "100% café; #1", "DYNO": name}, env_file="").instance_id


@pytest.mark.parametrize("name", ["DELIVERY_ROUTES_FILE", "REDIS_CA_FILE"])
def test_files_of_settings_are_read_at_start(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    for data in (
        b"",
        b"{",
        b"[]",
        b'{"a": 1}',
        b'{"a": "x"}',
        "{}".encode("utf-16"),
        b"-----BEGIN CERTIFICATE-----",
    ):
        file.write_bytes(data)
        assert list(refused({name: str(file)})) == [name], data
    for path in (tmp_path, tmp_path / "none"):
        assert list(refused({name: str(path)})) == [name], path
