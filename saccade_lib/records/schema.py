"""Check a JSON-like value against one of the two schemas beside this package."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

# The library of Jupyter's own nbformat. It compiles a schema, so that long curves cost
# little, and its import takes no time worth noticing in a notebook's first cell.
import fastjsonschema


def check(value: Any, schema: str, name: str) -> None:
    """Raise ValueError naming the first field of ``name`` that breaks ``schema``."""
    try:
        _compiled(schema)(value)
    except fastjsonschema.JsonSchemaValueException as error:
        field = ".".join(error.path[1:]) or "top level"
        fault = f"{field}: {_fault(error)}"
        raise ValueError(f"{name} does not follow {schema}: {fault}") from None


def _fault(error: fastjsonschema.JsonSchemaValueException) -> str:
    if error.rule == "required":
        missing = [key for key in error.rule_definition if key not in error.value]
        return f"{', '.join(map(repr, missing))} missing"
    rule = error.message.removeprefix(error.name).strip()
    if error.rule == "additionalProperties":
        return rule
    return f"{reprlib.repr(error.value)} {rule}"


@cache
def _compiled(schema: str) -> Callable[[Any], Any]:
    text = files("saccade_lib").joinpath(schema).read_text("utf-8")
    return fastjsonschema.compile(json.loads(text), use_default=False)
