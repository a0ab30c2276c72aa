"""Examples of the manual, run as they stand, print what the page says."""

import re
from pathlib import Path

import pytest

from lockstep.settings import Settings
from tests.support.manual import run_example


@pytest.mark.parametrize("page", ["backup", "priorities", "delays", "idempotency", "intake", "limits"])
def test_the_example_prints_what_the_page_says(page: str, settings: Settings) -> None:
    text = Path(f"docs/{page}.md").read_text()
    ((code, shown),) = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert run_example(code, settings) == (shown, "")
