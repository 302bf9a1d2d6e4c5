"""What is said about a wrong command line (CLI spec §2): one line that helps to write a right one."""

import difflib
from collections.abc import Sequence
from typing import Any, Final

import typer

__all__ = ["UsageError", "explain"]

# The library keeps the class it raises behind a public one.
UsageError: Final[type[Any]] = typer.BadParameter.__mro__[1]
_SHOWN_MAX: Final = 16


def explain(error: Any) -> str:
    """Return the text for a usage error of the library below, without a line end."""
    context = error.ctx
    if context is None:
        return f"error: {error.format_message()}"
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":
        return str(context.get_help())
    if kind == "NoSuchOption":
        return _unknown_option(context, error.option_name)
    if kind in {"MissingParameter", "BadParameter", "BadOptionUsage"}:
        is_argument = getattr(getattr(error, "param", None), "param_type_name", "") == "argument"
        return _usage(context) if kind == "MissingParameter" and is_argument else _fault(context, error)
    # Too many arguments, or a command that is not there.
    return _usage(context)


def _fault(context: Any, error: Any) -> str:
    return f"error: {context.command_path}: {error.format_message().rstrip('.')}"


def _unknown_option(context: Any, name: str) -> str:
    known: list[str] = []
    inner = context
    while inner is not None:
        known += [option for parameter in inner.command.params for option in parameter.opts]
        inner = inner.parent
    options = [option for option in known if option.startswith("--")]
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.0)
    hint = f": the nearest known one is `{near[0]}`" if near else ""
    return f"error: {context.command_path}: unknown option `{name}`{hint}"


def _usage(context: Any) -> str:
    command = context.command
    words = [f"usage: {context.command_path}"]
    if names := getattr(command, "commands", None):
        shown = sorted(names)
        words.append("|".join(shown[:_SHOWN_MAX]) + ("|..." if len(shown) > _SHOWN_MAX else ""))
        return " ".join([*words, f"...; see {context.command_path} --help"])
    words += [_argument(one) for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.opts != ["--help"]]
    shown_options = [one for one in options if one.required or _is_in_example(command, one.opts)]
    words += [_option(one) for one in shown_options]
    return " ".join([*words, *(["…"] if len(shown_options) < len(options) else [])])


def _argument(argument: Any) -> str:
    shown = f"<{argument.name}>" + ("..." if argument.nargs == -1 or argument.multiple else "")
    return shown if argument.required else f"[{shown}]"


def _option(option: Any) -> str:
    name = option.opts[0]
    return name if option.is_flag else f"{name} <{name.lstrip('-')}>"


def _is_in_example(command: Any, names: Sequence[str]) -> bool:
    """Whether the example of a command uses an option: what is usually given belongs to its usage."""
    _, _, example = (command.help or "").partition("Example:")
    return any(word.partition("=")[0] in names for word in example.split())
