"""``lockstep send``: enqueue one message, or many from a file or standard input."""

import json as jsonlib
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import click
import typer

from lockstep import parsing
from lockstep.cli.common import err, out, print_json, settings_with_redis
from lockstep.cli.lines import LineSender, Sent
from lockstep.records import Accepted
from lockstep.requests import parse_request

if TYPE_CHECKING:
    from lockstep.broker import LockstepBroker
