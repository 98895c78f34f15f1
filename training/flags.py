"""Flags of a command out of the fields of `Settings`, so that no option is listed twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field
from typing import Annotated, Any

import typer

from .settings import Settings, shown


def with_settings(**kinds: type[Settings]) -> Callable[[Any], Any]:
    """The command with a flag for every field of each kind; what was given arrives in its argument of that name.

        @with_settings(hyperparameters=TrainingConfig)
        def fit(hyperparameters: dict[str, Any], …): …   # {"epochs": "20"} of --epochs 20

    Only what was typed arrives, as text, for `from_texts`.
    """

    def decorate(command: Any) -> Any:
        own = inspect.signature(command, eval_str=True)
        kept = [parameter for parameter in own.parameters.values() if parameter.name not in kinds]
        flags = {argument: [_flag(kind, *item) for item in kind.options().items()] for argument, kind in kinds.items()}
        parameters = [*kept, *(flag for some in flags.values() for flag in some)]

        def run(**values: Any) -> Any:
            collected = {
                argument: {f.name: value for f in some if (value := values.pop(f.name)) is not None}
                for argument, some in flags.items()
            }
            return command(**values, **collected)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _flag(kind: type[Settings], name: str, field: Field[Any]) -> inspect.Parameter:
    flag = name.replace("_", "-")
    option = typer.Option(
        f"--{flag}/--no-{flag}" if field.default is True else f"--{flag}",
        help=field.metadata["help"],
        show_default=shown(field.default),
        rich_help_panel=kind.PANEL,
    )
    value: Any = bool if isinstance(field.default, bool) else str
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[value | None, option]
    )
