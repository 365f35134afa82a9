"""Objects that are named by an import path, `package.module:name`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from heteroreg.system.errors import UserError


def is_import_path(name: str) -> bool:
    """Return True for a name of the form `package.module:name`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")])


def import_object(path: str, argument: str | None = None) -> Any:
    """Import the object that a path names, from what is installed and from PYTHONPATH.

    Args:
        path: `package.module:name`.
        argument: Name of the argument that held the path, for the error message.

    Raises:
        UserError: The module is missing or fails to import, or has no such name.
    """
    where = f"{argument}: {path}" if argument else path
    module, _, attribute = path.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise UserError(
                f"{where}: no module is called {error.name}; install it, or put its folder on PYTHONPATH",
                argument=argument,
            ) from error
        raise UserError(f"{where}: needs the missing module {error.name}", argument=argument) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{where}: cannot be imported ({problem})", argument=argument) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UserError(f"{where}: {module} has no {attribute}", argument=argument)
        found = getattr(found, part)
    return found


def import_path(thing: object) -> str | None:
    """Return the import path of an object, or None if it cannot be imported by one.

    A class or function is found by its own name. An instance is found if it is a variable of the module that
    defines its class.
    """
    module = getattr(thing, "__module__", None)
    if module in (None, "__main__", "builtins") or module not in sys.modules:
        return None
    names = vars(sys.modules[module])
    name = getattr(thing, "__qualname__", None)
    if name is None:
        name = next((key for key, value in names.items() if value is thing), None)
    return f"{module}:{name}" if isinstance(name, str) and names.get(name) is thing else None


def call_with_known(function: Callable[..., Any], *arguments: Any, **offered: Any) -> Any:
    """Call a function with those of the offered keywords that it takes."""
    return function(*arguments, **{name: value for name, value in offered.items() if takes(function, name)})


def takes(function: Callable[..., Any], keyword: str) -> bool:
    """Return True if a function takes that keyword."""
    if isinstance(function, type):
        owner = next(part for part in function.__mro__ if "__init__" in vars(part))
        if (owner.__module__, owner.__name__) == ("torch.nn.modules.module", "Module"):
            return False  # a module without its own constructor takes nothing, whatever its signature says
    try:
        parameters = signature(function).parameters
    except ValueError:  # a class written in C has none that can be read
        return False
    return keyword in parameters or any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
