"""Examples of the manual, run as they stand, print what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.settings import Settings


@pytest.mark.parametrize("page", ["priorities", "delays", "idempotency", "intake"])
def test_the_example_prints_what_the_page_says(page: str, settings: Settings) -> None:
    text = Path(f"docs/{page}.md").read_text()
    ((code, shown),) = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert settings.redis_url is not None
    environment = {
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "LOG_LEVEL": "critical",
        "BACKOFF": "fixed:100ms",
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.stdout, result.stderr) == (shown, "")
