"""Which release a process says it is."""

from importlib.metadata import version
from pathlib import Path

import pytest

from lockstep import release


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of a deployment, reached over its link ``current``, and nothing in the environment."""
    tree = tmp_path / "releases" / "2026-11-25.1"
    (tree / "lockstep").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/2026-11-25.1")
    monkeypatch.delenv("RELEASE", raising=False)
    monkeypatch.setattr(release, "__file__", str(tmp_path / "current" / "lockstep" / "release.py"))
    return tree


def test_the_directory_of_a_release_names_it(tree: Path) -> None:
    assert release.version.__wrapped__() == "2026-11-25.1"


def test_the_environment_wins(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE", "v42")
    assert release.version.__wrapped__() == "v42"
    monkeypatch.setenv("RELEASE", "")
    assert release.version.__wrapped__() == "2026-11-25.1"


def test_elsewhere_it_is_the_version_of_the_package(
    tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(release, "__file__", str(tmp_path / "lockstep" / "release.py"))
    assert release.version.__wrapped__() == version("lockstep")


def test_what_is_not_text_is_cleaned(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE", "v\udcff\n" + "1" * 1000)
    found = release.version.__wrapped__()
    assert found.startswith("v\\udcff\\n11")
    assert len(found) == 500
