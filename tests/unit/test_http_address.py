"""Addresses of receivers: accepted as they are written, or refused without being repeated."""

from pathlib import Path

import pytest

from lockstep import parsing
from lockstep.errors import InvalidSettings
from lockstep.http_address import http_url
from lockstep.settings import Settings

GOOD = [
    "http://h", "HTTPS://H/path?q=1#f", "http://h:1/", "http://h:65535", "http://127.0.0.1:80/", "https://h:443/",
    "http://[::1]:8080/hook", "http://a_b.internal./", "http://user:pa%2Fss@h:80/x@y", "http://é.example/",
    "http://h/@user/x", "http://user@h/", "http://h/?a=b:c@d",
]  # fmt: skip
WRONG = [
    "", "h", "h:80", "ftp://h", "//h/", "http:", "http://", "http:///x", "http://:80/", "http://h:abc/", "http://h:0/",
    "http://h:65536/", "http://h:83439/", "http://h:-1/", "http://h:+80/", "http://h: 80/", "http://h:\uff18\uff10/",
    "http://h:8_0/", "http://h:", "http://h:/", "http://a b/", "http://h/a b", " http://h/", "http://h/\n", "http://h\x00/",
    "http://[::1/", "http://[::1]x/", "http://[nonsense]/", "http://256.1.1.1/", "http://a..b/", "http://.a/",
    "http://" + "a" * 64 + ".com/", "http://" + "a." * 130 + "com/", "http://xn--/", "http://%41/", "http://h%00/",
    "http://-a/", "http://\u200b/", "http://h\\@e/", "http://user:80/hidden@h/", "http://user:hid/den@h/",
    "http://user:hid@den@h/", "http://user:80?hidden@h/", "http://user:80#hidden@h/", "unix:///tmp/x", "http://h:99999999999999999999/",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_can_be_posted_to(text: str) -> None:
    assert http_url(text) == text


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_is_refused_where_it_is_set_and_not_repeated(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        http_url(text)
    assert "hid" not in str(refused.value)
    if text:
        with pytest.raises(InvalidSettings, match=r"^DELIVERY_URL: expected"):
            Settings.load({"DELIVERY_URL": text}, env_file="")


def test_a_route_is_named_by_its_instance() -> None:
    with pytest.raises(ValueError, match=r"^'acme': expected a port") as refused:
        parsing.routes('{"other": "http://h/", "acme": "http://user:hidden@h:83439/"}')
    assert "hidden" not in str(refused.value)
