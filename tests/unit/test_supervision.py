"""Files beside supervisord: logs that are followed, slots of workers, where everything is."""

import configparser
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lockstep.errors import AlreadyRunning, InvalidSettings
from lockstep.settings import Settings
from lockstep.supervision import slots
from lockstep.supervision.following import Follower
from lockstep.supervision.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "s", Path("supervisor/supervisord.conf").absolute(), tmp_path)
    place.directory.mkdir()
    place.extras.mkdir()
    return place


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def test_lines_are_shown_whole_and_from_now_on(tmp_path: Path) -> None:
    append(tmp_path / "web-0.log", "of the run before\n")
    shown = io.BytesIO()
    follower = Follower(tmp_path, shown)

    append(tmp_path / "web-0.log", "one\nha")
    append(tmp_path / "worker-0.log", "begun later\n")
    follower.copy()
    assert shown.getvalue() == b"one\nbegun later\n"

    append(tmp_path / "web-0.log", "lf\nno end")
    follower.close()
    assert shown.getvalue() == b"one\nbegun later\nhalf\nno end\n"


def test_nothing_is_lost_when_a_log_is_renamed(tmp_path: Path) -> None:
    log, shown = tmp_path / "web-0.log", io.BytesIO()
    append(log, "")
    follower = Follower(tmp_path, shown)

    append(log, "first\n")
    log.rename(tmp_path / "web-0.log.1")
    follower.copy()  # between the two there is none
    append(tmp_path / "web-0.log.1", "last of the old\n")
    append(log, "first of the new\n")
    follower.copy()
    append(log, "second\n")
    follower.close()

    assert shown.getvalue() == b"first\nlast of the old\nfirst of the new\nsecond\n"


def test_a_slot_is_a_program_like_the_configured_ones(place: Place) -> None:
    assert slots.write_slot(place, 7) == "worker-7"

    config = configparser.RawConfigParser()
    config.read([place.config, place.extras / "worker-7.conf"])
    own, configured = dict(config["program:worker-7"]), dict(config["program:worker"])
    different = {name for name in configured if own[name] != configured[name]}
    assert different == {"numprocs", "process_name", "environment", "stdout_logfile"}
    assert own["process_name"] == "worker-7"
    assert "%(process_num)" not in str(own)


def test_slots_that_are_configured_by_now_are_forgotten(place: Place) -> None:
    for number in (2, 3, 4):
        slots.write_slot(place, number)
    slots.set_stopped(place, {"worker-1"})
    assert slots.stopped(place) == {"worker-1"}

    slots.forget_former(place, 4)

    assert slots.extra_slots(place) == {4}
    assert slots.stopped(place) == set()


def test_one_at_a_time_changes_what_runs(place: Place) -> None:
    with slots.changing(place), pytest.raises(AlreadyRunning), slots.changing(place):
        pass
    with slots.changing(place):
        pass


def test_commands_are_those_of_the_current_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lockstep.supervision.place._SOCKET_BYTES", 500)  # the path of a test may be long
    settings = Settings.load({}, env_file="")
    (tmp_path / "current").mkdir()  # no release, whatever its name
    assert tmp_path not in Place.of(settings).config.parents
    config = tmp_path / "current" / "supervisor" / "supervisord.conf"
    config.parent.mkdir()
    config.touch()
    place = Place.of(settings)
    assert (place.config, place.scripts) == (config, tmp_path / "current" / ".venv" / "bin")
    assert place.environment(settings, {"PATH": "/bin"})["PATH"] == f"{place.scripts}:/bin"


def test_a_directory_with_blanks_is_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstep.supervision.place._SOCKET_BYTES", 500)  # the path of a test may be long
    settings = Settings.load({"DATA_DIR": str(tmp_path / "my [data]")}, env_file="")
    place = Place.of(settings)

    pattern = place.environment(settings, {})["SUPERVISOR_INCLUDE"]

    assert pattern.split() == [pattern]
    place.make()
    assert [file.name for file in Path("/").glob(pattern[1:])] == ["none.conf"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"PORT": "0"}, "PORT"),
        ({"HOST": "::1"}, "HOST"),
        ({"DATA_DIR": "/deep" * 20}, "DATA_DIR"),
        ({"DATA_DIR": "/tmp/100%"}, "DATA_DIR"),
        ({"DATA_DIR": "/tmp/%(ENV_HOME)s"}, "DATA_DIR"),
        ({"DATA_DIR": "/tmp/%%"}, "DATA_DIR"),
        ({"DATA_DIR": "/tmp/a\nb"}, "DATA_DIR"),
        ({"DATA_DIR": "/tmp/a\x1b[2J"}, "DATA_DIR"),
    ],
)
def test_what_supervisord_cannot_hold_is_refused(given: dict[str, str], name: str) -> None:
    settings = Settings.load(given, env_file="")
    with pytest.raises(InvalidSettings, match=name):
        Place.of(settings).environment(settings, {})


#: Reads the configuration as supervisord does, and writes down what it understood.
READER = """
import json, sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-n", "-c", sys.argv[1]])
groups = options.configroot.supervisord.process_group_configs
server = options.configroot.supervisord.server_configs[0]
programs = {p.name: [p.environment["INSTANCE_ID"], p.stdout_logfile] for g in groups for p in g.process_configs}
print(json.dumps({"programs": programs, "socket": server["file"], "pid": options.configroot.supervisord.pidfile}))
"""


@pytest.mark.parametrize(
    ("directory", "instance"),
    [
        ("a b;c #d", "a b; #c"),
        ('it\'s "d"', "100%"),
        ("$HOME ~ [x] *", "%(ENV_PATH)s"),
        ("back\\slash=x:y,z", "%% %s a=b,c:d\\"),
        ("grün", "grün"),
    ],
)
def test_supervisord_reads_every_value_as_it_is(directory: str, instance: str) -> None:
    with TemporaryDirectory(dir="/tmp") as short:  # the path of a socket must be short
        data = Path(short) / directory
        settings = Settings.load({"DATA_DIR": str(data), "INSTANCE_ID": instance}, env_file="")
        place = Place.of(settings)
        place.make()
        # What users have in their environment is no concern of supervisord's configuration.
        foreign = {"A": "%", "B": "%(ENV_NONE)s", "C": '"\n', "D": "\udcff", "E-F": ";", "PS1": "%n %d"}
        slots.write_slot(place, 7)

        read = subprocess.run(
            [sys.executable, "-c", READER, str(place.config)],
            env=place.environment(settings, {**os.environ, **foreign}),
            capture_output=True,
            text=True,
            check=False,
        )

        assert read.returncode == 0, read.stderr
        understood = json.loads(read.stdout)
        files = place.directory
        assert understood["socket"] == str(place.socket)
        assert understood["pid"] == str(files / "supervisord.pid")
        programs = understood["programs"]
        assert programs.pop("listener")[0] == f"{instance}-listener"
        assert programs == {
            name: [f"{instance}-{name}", str(files / f"{name}.log")]
            for name in (
                *(f"{kind}-{n}" for kind in ("web", "worker", "scheduler") for n in (0, 1)),
                "worker-7",
            )
        }
