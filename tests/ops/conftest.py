import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not as deep as pytest's own: supervisord's socket is in it, and the path of a socket is short."""
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory:
        yield Path(directory).resolve()
