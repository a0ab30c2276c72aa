"""The arguments of a message: whether its actor takes them, and which group they put it in."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import Parameter, signature
from string import Formatter
from typing import Any, Final

from dramatiq import Actor, GenericActor, Message

from lockstep.checks import check_group, check_maker, check_text, find_unstorable, kind, member
from lockstep.envelope import SCALARS, OrjsonEncoder, current_encoder
from lockstep.errors import InvalidMessage
from lockstep.rates import encode, parse_limit

_BY_PLACE: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a function takes."""

    by_place: tuple[str, ...]
    by_name: frozenset[str]
    required: tuple[str, ...]
    defaults: Mapping[str, object]
    rest: str | None  #: the name of ``*args``
    extra: str | None  #: the name of ``**kwargs``

    def values(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Every argument under its name, defaults too; what ``**kwargs`` takes also under names of its own."""
        named = {**self.defaults, **dict(zip(self.by_place, args, strict=False))}
        extra: dict[str, object] = {}
        for name, value in kwargs.items():
            (named if name in self.by_name else extra)[name] = value
        if self.rest is not None:
            named[self.rest] = tuple(args[len(self.by_place) :])
        if self.extra is not None:
            named[self.extra] = extra
        return {**extra, **named}  # a parameter is never hidden by what a sender adds


@lru_cache(maxsize=4096)
def parameters_of(fn: Callable[..., Any]) -> Parameters:
    """What ``fn`` takes, worked out once."""
    if isinstance(fn, GenericActor) and type(fn).__call__ is GenericActor.__call__:
        fn = fn.perform  # a class-based actor passes everything on to it
    all_of = tuple(signature(fn).parameters.values())
    names = {parameter.kind: parameter.name for parameter in all_of}
    single = [parameter for parameter in all_of if parameter.kind in {*_BY_PLACE, *_BY_NAME}]
    return Parameters(
        by_place=tuple(parameter.name for parameter in single if parameter.kind in _BY_PLACE),
        by_name=frozenset(parameter.name for parameter in single if parameter.kind in _BY_NAME),
        required=tuple(parameter.name for parameter in single if parameter.default is Parameter.empty),
        defaults={p.name: p.default for p in single if p.default is not Parameter.empty},
        rest=names.get(Parameter.VAR_POSITIONAL),
        extra=names.get(Parameter.VAR_KEYWORD),
    )


def check_arguments(actor: "Actor[Any, Any]", args: Sequence[object], kwargs: Mapping[str, object]) -> None:
    """Check that the actor's function can be called with these arguments.

    Raises:
      InvalidMessage: it cannot; ``field`` points at the argument.
    """
    if not isinstance(args, list | tuple):
        raise InvalidMessage("/args", f"expected an array, got {kind(args)}")
    if not isinstance(kwargs, dict):
        raise InvalidMessage("/kwargs", f"expected an object, got {kind(kwargs)}")
    takes = parameters_of(actor.fn)
    if len(args) > len(takes.by_place) and takes.rest is None:
        raise InvalidMessage("/args", f"at most {len(takes.by_place)} expected, got {len(args)}")
    given = takes.by_place[: len(args)]
    _check_names(takes, given, kwargs)
    for name in takes.required:
        if name in given or (name in kwargs and name in takes.by_name):
            continue
        if name not in takes.by_name:
            raise InvalidMessage("/args", f"{name!r} is missing")
        raise InvalidMessage(member("/kwargs", name), "missing")


def _check_names(takes: Parameters, given: Sequence[str], kwargs: Mapping[str, object]) -> None:
    for name in kwargs:
        if not isinstance(name, str):
            raise InvalidMessage("/kwargs", f"expected names that are text, got {name!r}")
        if name in takes.by_name:
            if name in given:
                raise InvalidMessage(member("/kwargs", name), "given in args already")
        elif takes.extra is None:
            raise InvalidMessage(member("/kwargs", name), "the actor has no such argument")


def validate(actor: "Actor[Any, Any]", args: Sequence[object], kwargs: Mapping[str, object]) -> None:
    """Let the actor's own ``validate`` look at arguments that fit.

    Raises:
      InvalidMessage: it raised something; ``field`` is what an ``InvalidMessage`` of its own pointed at.
    """
    check = actor.options.get("validate")
    if check is None:
        return
    takes = parameters_of(actor.fn)
    try:
        _call(check, takes.values(args, kwargs))
    except InvalidMessage as error:
        error.field = _by_place(error.field, takes.by_place[: len(args)])
        raise
    except ValueError as error:
        raise InvalidMessage("/kwargs", str(error)) from None
    except Exception as error:
        raise InvalidMessage("/kwargs", f"refused by the actor: {error!r}") from error


def group_of(actor: "Actor[Any, Any]", message: "Message[Any]") -> str | None:
    """The group that a message joins, by its own options or those of its actor; its arguments fit.

    Raises:
      InvalidMessage: ``group_by`` does not make a group key of the arguments.
    """
    for options in (message.options, actor.options):
        given = options.get("group")
        if given is not None:
            return check_group(given)
        if options.get("group_by") is not None:
            break
    return _made_by("group_by", actor, message, "/group", check_group)


def unique_of(actor: "Actor[Any, Any]", message: "Message[Any]") -> str | None:
    """What a message is the only one by, of those of its actor and group; None: its arguments.

    Raises:
      InvalidMessage: ``unique_by`` does not make a text of the arguments.
    """
    return _made_by("unique_by", actor, message, "/unique_by", _check_unique_by)


def limit_extra(actor: "Actor[Any, Any]", message: "Message[Any]", group: str | None) -> dict[str, object]:
    """Return what a message carries for the limits.

    That is its own ``rate_limit``, the key of ``rate_limit_key``, and its group when several of it may run.

    Raises:
      InvalidMessage: ``rate_limit_key`` does not make a key of the arguments.
    """
    extra: dict[str, object] = {}
    most = actor.options.get("group_concurrency")
    if most is not None and most > 1 and group is not None:
        extra |= {"group": group, "slots": most}
    given = message.options.get("rate_limit")
    if given is not None:
        rates, names = parse_limit(given)
        extra["rates"] = "\n".join([encode(rates), *names])
    key = _made_by("rate_limit_key", actor, message, "/rate_limit_key", check_group)
    if key is not None:
        extra["limit"] = key
    return extra


def _check_unique_by(value: object, pointer: str) -> str:
    return check_text(value, None, pointer)


def _made_by(
    option: str,
    actor: "Actor[Any, Any]",
    message: "Message[Any]",
    pointer: str,
    check: Callable[[object, str], str],
) -> str | None:
    """What a format or a function makes of the arguments, checked; None: there is no such option."""
    by = message.options.get(option)
    if by is None:
        by = actor.options.get(option)
        if by is None:
            return None
    check_maker(by, pointer)
    try:
        values = _as_stored(by, option, actor, message)
        made = by.format(**values) if isinstance(by, str) else by(**values)
    except InvalidMessage:
        raise
    except Exception as error:
        raise InvalidMessage(pointer, f"{option} does not fit the arguments: {error!r}") from error
    return check(made, pointer)


def _as_stored(
    by: "str | Callable[..., Any]", option: str, actor: "Actor[Any, Any]", message: "Message[Any]"
) -> dict[str, object]:
    """The values that a key is made of, as the actor gets them: equal messages have equal keys, however they are sent.

    Raises:
      InvalidMessage: the encoder would change one of them, a default included.
    """
    takes = parameters_of(actor.fn)
    values = takes.values(message.args, message.kwargs)
    names = values_named(by)
    if names is not None:
        values = {name: values[name] for name in names if name in values}
    encoder = current_encoder()
    if type(encoder) is not OrjsonEncoder:
        return values  # the arguments came back from it already
    for name, value in values.items():
        if type(value) not in SCALARS:
            try:
                returned: Any = encoder.decode(encoder.encode(value))  # type: ignore[arg-type]
            except (TypeError, ValueError) as error:
                given = find_unstorable(replace(message, options={}), encoder)
                field = given or member("/kwargs", name)  # else it is a default
                raise InvalidMessage(field, f"cannot be stored, and {option} reads it: {error}") from None
            values[name] = tuple(returned) if name == takes.rest else returned
    return values


@lru_cache(maxsize=4096)
def values_named(by: "str | Callable[..., Any]") -> frozenset[str] | None:
    """The names of the values that a format or a function uses; None: all of them."""
    if isinstance(by, str):
        return _named_in(by)
    takes = parameters_of(by)
    return takes.by_name if takes.extra is None else None


def _named_in(text: str) -> frozenset[str] | None:
    names: set[str] = set()
    try:
        for _, field, spec, _ in Formatter().parse(text):
            if field is not None:
                names.add(re.split(r"[.\[]", field, maxsplit=1)[0])
                names |= _named_in(spec or "") or set()
    except ValueError:
        return None  # no format: using it says what is wrong
    return frozenset(names)


def _call(fn: Callable[..., Any], values: Mapping[str, object]) -> Any:
    """Call ``fn`` with those of the values that it names, or with all if it has ``**kwargs``."""
    takes = parameters_of(fn)
    if takes.extra is None:
        values = {name: value for name, value in values.items() if name in takes.by_name}
    return fn(**values)


def _by_place(field: str, given: Sequence[str]) -> str:
    """A pointer to a named argument, as a pointer to its place if it was given by place."""
    head, _, name = field.partition("/kwargs/")
    first, slash, rest = name.partition("/")
    return field if head or first not in given else f"/args/{given.index(first)}{slash}{rest}"
