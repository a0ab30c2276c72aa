"""A home and its releases on disk, and what a source is copied of."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lockstep.deploying.home import Home, Release
from lockstep.deploying.source import Source
from lockstep.errors import AlreadyRunning, NotFound, RefusedRelease


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def put(home: Home, *names: str, proven: bool = True) -> None:
    """Install releases, one after the other."""
    for name in names:
        number = len(home.installed())
        home.path(name).mkdir(parents=True)
        at = f"2026-11-25T10:{number:02}:00Z"
        home.mark(
            Release(name=name, source="/src", commit=None, installed_at=at, proven_at=at if proven else None)
        )


def test_a_fresh_home_has_nothing(home: Home) -> None:
    assert (home.current(), home.former(), home.installed()) == (None, None, [])
    with pytest.raises(NotFound):
        home.require("one")


def test_the_former_is_the_last_proven_one_before_the_current(home: Home) -> None:
    put(home, "a", "b")
    put(home, "bad", proven=False)
    home.switch("a")
    assert (home.current(), home.former()) == ("a", None)
    home.switch("b")
    assert (home.current(), home.former()) == ("b", "a")
    home.switch("bad")
    assert (home.current(), home.former()) == ("bad", "b")
    home.switch("b")
    assert (home.current(), home.former()) == ("b", "a")
    home.prove("bad")
    assert home.former() == "bad"
    assert home.link.readlink() == Path("releases/b")
    assert [path.name for path in home.root.glob(".current*")] == []


def test_a_death_between_the_log_and_the_link_changes_nothing(home: Home) -> None:
    put(home, "a", "b", "c")
    home.switch("a")
    home.switch("b")
    with (home.root / "activations.log").open("a") as log:
        log.write("2026-11-25T10:00:00Z c\n2026-11-25T1")  # and a line that is cut off
    (home.root / ".current.1").symlink_to("releases/c")

    assert home.current() == "b"
    home.switch("c")
    assert (home.current(), home.former()) == ("c", "b")
    home.remove_halves()
    assert not (home.root / ".current.1").is_symlink()


def test_what_is_half_installed_is_removed_and_never_listed(home: Home) -> None:
    put(home, "whole")
    (home.releases / "half" / ".venv").mkdir(parents=True)
    (home.releases / "torn").mkdir()
    (home.releases / "torn" / ".release.json").write_text('{"name": "to')

    assert [release.name for release in home.installed()] == ["whole"]
    assert home.remove_halves() == ["half", "torn"]
    assert [path.name for path in home.releases.iterdir()] == ["whole"]


def test_what_has_no_name_of_a_release_is_left_alone(home: Home) -> None:
    put(home, "whole")
    (home.releases / "lost+found").mkdir()
    (home.releases / ".DS_Store").touch()

    assert home.remove_halves() == []
    assert [release.name for release in home.installed()] == ["whole"]
    assert home.prune(1) == []
    assert len(list(home.releases.iterdir())) == 3


def test_old_releases_go_but_never_the_current_or_the_former(home: Home) -> None:
    put(home, *"abcdefgh")
    home.switch("b")
    home.switch("a")

    assert home.prune(5) == ["e", "d", "c"]
    assert [release.name for release in home.installed()] == ["h", "g", "f", "b", "a"]
    assert home.prune(1) == ["h", "g", "f"]
    assert home.prune(1) == []


def test_only_a_link_to_a_release_is_current(home: Home) -> None:
    home.link.symlink_to("/tmp")
    with pytest.raises(RefusedRelease, match="no release of this home"):
        home.current()
    home.link.unlink()
    home.link.mkdir()
    with pytest.raises(RefusedRelease, match="is no link"):
        home.current()


def test_one_at_a_time(home: Home) -> None:
    with home.locked(), pytest.raises(AlreadyRunning), home.locked():
        raise AssertionError
    with home.locked():
        pass


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 65])
def test_names_that_are_none(home: Home, name: str) -> None:
    with pytest.raises(RefusedRelease):
        home.path(name)


def test_a_mark_of_a_newer_release_can_be_read(home: Home) -> None:
    put(home, "a")
    release = home.require("a")
    mark = home.path("a") / ".release.json"
    mark.write_text(mark.read_text().replace("{", '{"newer": 1, ', 1))
    assert home.require("a") == replace(release)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (
        *("setup.cfg", "lockstep/__init__.py", "supervisor/supervisord.conf", "mine/data/x.json"),
        *(
            ".env",
            "data/redis.log",
            ".venv/bin/python",
            "lockstep/__pycache__/x.pyc",
            "lockstep.egg-info/PKG",
        ),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


WANTED = {"setup.cfg", "lockstep/__init__.py", "supervisor/supervisord.conf", "mine/data/x.json"}


def test_a_plain_tree_is_copied_without_what_is_not_source(tree: Path, tmp_path: Path) -> None:
    source = Source.of(tree)

    assert source.copy(tmp_path / "copy") == len(WANTED)
    assert (files(tmp_path / "copy"), source.commit) == (WANTED, None)


def test_of_a_checkout_only_what_git_tracks_is_copied(tree: Path, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", tree, *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tree / "gone.py").touch()
    git("add", *WANTED, "gone.py")
    git("commit", "-m", "all")
    (tree / "gone.py").unlink()
    (tree / "setup.cfg").chmod(0o755)
    (tree / "untracked.py").touch()

    source = Source.of(tree)
    source.copy(tmp_path / "copy")

    assert files(tmp_path / "copy") == WANTED
    assert (tmp_path / "copy" / "setup.cfg").stat().st_mode & 0o777 == 0o755
    assert source.commit is not None
    assert source.commit in source.told


def test_a_tree_of_something_else_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(RefusedRelease, match=r"no source tree .* setup\.cfg"):
        Source.of(tmp_path)
