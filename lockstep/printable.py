"""Text of others on its way to a terminal: characters that steer it are shown as escapes.

These are control characters, C1 controls, bidirectional overrides and everything else that is not printable. A
newline is one of them where one line is expected: it would forge the next.
"""

import traceback
from types import TracebackType

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def printable(text: str) -> str:
    """Return the text on one line, with an escape for each character that is not printable."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Return the text with its line feeds, and all else as ``printable``. Tabs become blanks."""
    return "\n".join(map(printable, text.expandtabs().split("\n")))


def printable_traceback(exc_info: _ExcInfo) -> str:
    """Return a traceback in which no exception, note or cause can forge a line, or reach the terminal."""
    kind, error, trace = exc_info
    whole = traceback.TracebackException(kind, error, trace)
    seen: set[int] = set()
    waiting: list[traceback.TracebackException | None] = [whole]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _escape(one)
        waiting += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return printable_lines("".join(whole.format()))


def _escape(one: traceback.TracebackException) -> None:
    """What an exception says of itself becomes one line; only its frames have several."""
    _escape_class(one)
    # Only `str()` of it is kept, under this name in every version from 3.11 on.
    one._str = printable(str(one))  # type: ignore[attr-defined]
    notes = getattr(one, "__notes__", None)
    if isinstance(notes, list | tuple):
        one.__notes__ = [printable(str(note)) for note in notes]
    for frame in one.stack:
        frame.filename, frame.name = printable(frame.filename), printable(frame.name)
    for name in ("msg", "text", "filename"):  # of a SyntaxError
        value = getattr(one, name, None)
        if isinstance(value, str):
            setattr(one, name, printable(value.rstrip("\n")))


def _escape_class(one: traceback.TracebackException) -> None:
    """Escape the name of an exception's class and of its module: a class that is made at run time may have any."""
    for name in ("exc_type_qualname", "exc_type_module"):  # from Python 3.13 on
        value = getattr(one, name, None)
        if isinstance(value, str):
            setattr(one, name, printable(value))
    kind = vars(one).get("exc_type")  # before, the class itself is kept, and may not be changed
    if kind is None or f"{kind.__module__}{kind.__qualname__}".isprintable():
        return
    base = SyntaxError if issubclass(kind, SyntaxError) else Exception  # which is formatted in another way
    module = {"__module__": printable(str(kind.__module__))}
    one.exc_type = type(printable(kind.__qualname__), (base,), module)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
