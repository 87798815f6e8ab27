"""Tools in OpenAI's form, and calls of them as Apriel writes them in its final response:

<tool_calls>[{"name": "read_meter", "arguments": {"meter": 7}}]</tool_calls>
"""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from common.errors import AetherError

OPEN, CLOSE = "<tool_calls>", "</tool_calls>"
_NAME = re.compile(r"[\w.-]{1,64}")


class ToolError(AetherError):
    """Tools, or a call of one, that are not in their form."""


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: dict

    def as_openai(self, id_: str) -> dict:
        """The entry of a message's `tool_calls`."""
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        function = {"name": self.name, "arguments": arguments}
        return {"id": id_, "type": "function", "function": function}


def parameters(tools: object) -> dict[str, dict]:
    """The JSON Schema of each tool's arguments by the tool's name. Raises ToolError for tools that
    are not in OpenAI's form."""
    if not isinstance(tools, list) or not tools:
        raise ToolError("tools: give a non-empty list of functions")
    schemas = {}
    for number, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise ToolError(f'tools[{number}]: give {{"type": "function", "function": {{...}}}}')
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in schemas:
            raise ToolError(f"tools[{number}].function.name: {name!r}; one word, each once")
        schema = function.get("parameters", {})
        properties = schema.get("properties", {}) if isinstance(schema, dict) else None
        if not isinstance(properties, dict) or schema.get("type", "object") != "object":
            raise ToolError(f"tools[{number}].function.parameters: a JSON Schema of an object")
        schemas[name] = schema
    return schemas


def of_openai(entry: object) -> Call:
    """The call in an entry of `tool_calls`. Raises ToolError."""
    function = entry.get("function") if isinstance(entry, dict) else None
    return _call(function)


def written(calls: Iterable[Call]) -> str:
    """Calls as they stand in a final response."""
    entries = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return f"{OPEN}{json.dumps(entries, ensure_ascii=False)}{CLOSE}"


def read(answer: str) -> list[Call]:
    """The calls in a final response, in their order; none where it calls nothing. Raises ToolError
    where what stands in the tags cannot be read."""
    calls: list[Call] = []
    rest = answer
    while OPEN in rest:
        rest = rest.partition(OPEN)[2].lstrip()
        try:
            entries, end = json.JSONDecoder().raw_decode(rest)
        except (ValueError, RecursionError) as error:
            raise ToolError(f"a call that is no JSON: {error}") from None
        rest = rest[end:].lstrip()
        if not isinstance(entries, list) or not rest.startswith(CLOSE):
            raise ToolError(f"calls that are no list between {OPEN} and {CLOSE}")
        calls += map(_call, entries)
    return calls


def _call(function: object) -> Call:
    """A call from its name and arguments, an object or the JSON of one."""
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    try:
        arguments = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        json.dumps([name, arguments], ensure_ascii=False).encode()  # no half of a character
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ToolError("a call is a name and an object of arguments")
    return Call(name, arguments)


def fault(call: Call, schemas: dict[str, dict]) -> str | None:
    """What a tool would refuse in a call, or None: no such tool, or arguments that its schema does
    not allow. A parameter that the schema does not name is refused."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.exceptions import UnknownType
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if call.name not in schemas:
        return f"no tool {call.name}"
    schema = {"additionalProperties": False} | schemas[call.name]
    try:
        validator = Draft202012Validator(schema, registry=Registry())  # which fetches nothing
        error = next(validator.iter_errors(call.arguments), None)
    except (SchemaError, UnknownType, Unresolvable, re.error) as broken:
        return f"{call.name}: a schema that cannot be read: {broken}"
    return f"{call.name}: {error.message}" if error else None


def accepted(calls: list[Call], wanted: list[dict]) -> bool:
    """Whether these are the calls that are wanted, by abstract syntax, as the Berkeley
    Function-Calling Leaderboard compares them.

    Args:
        calls: What was called; the order of calls in one turn says nothing.
        wanted: One `{name, arguments}` a call. Each argument is the list of values that are right;
            null among them says that it may be left out.
    """
    if len(calls) != len(wanted):
        return False
    left = list(calls)
    for one in wanted:
        fitting = next((call for call in left if _fits(call, one)), None)
        if fitting is None:
            return False
        left.remove(fitting)
    return True


def _fits(call: Call, wanted: dict) -> bool:
    arguments = wanted["arguments"]
    if call.name != wanted["name"] or not call.arguments.keys() <= arguments.keys():
        return False
    return all(_among(call.arguments.get(key), right) for key, right in arguments.items())


def _among(value: object, right: Collection) -> bool:
    return any(_plain(value) == _plain(one) for one in right)


def _plain(value: object) -> object:
    """A value as it is compared: letters' case and blanks of a text say nothing, true is no 1, 2.0
    is 2."""
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
