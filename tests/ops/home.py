"""A home with releases, as a deployment has it: complete trees, and a link to the one that is current."""

import shutil
import sys
from pathlib import Path

from tests.ops.supervised import SCRIPTS

ROOT = Path(__file__).parents[2]

#: The console script of a release: the libraries of this environment, the code of the release.
SCRIPT = """#!{python}
import sys
sys.path.insert(0, {tree!r})
from lockstep.cli import main
main()
"""


def make_release(home: Path, name: str, *, breaks: str = "") -> None:
    """A release of what is here; ``breaks`` is a line at the end of its actors."""
    tree = home / "releases" / name
    for package in ("actors", "lockstep", "middleware", "supervisor", "web"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tree / "actors" / "__init__.py").open("a") as actors:
        actors.write(f"\n{breaks}\n")
    scripts = tree / ".venv" / "bin"
    scripts.mkdir(parents=True)
    script = scripts / "lockstep"
    script.write_text(SCRIPT.format(python=sys.executable, tree=str(tree)))
    script.chmod(0o755)
    (scripts / "supervisord").symlink_to(Path(SCRIPTS) / "supervisord")


def switch(home: Path, name: str) -> None:
    """Make a release the current one, at once."""
    draft = home / "current.new"
    draft.symlink_to(Path("releases") / name)
    draft.replace(home / "current")
