"""Conversations in which tools are on offer: called, called again after an error, and not called
where none fits, where an argument must be asked for, or where the user forbids it.

What a tool gives back is computed, and so is what the answer must say. A family, one file of a
folder, is a set of tools with its cases; those with `heldout` are for evaluation alone.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from common import tools
from preprocess.generators.exact import TextError, plain
from preprocess.generators.nudges import Numbers
from preprocess.generators.slots import Renderer
from preprocess.rows import Conversation, Step, Turn
from preprocess.source import Context, Generated, MixError, Part, load, matching

SILENT = ("irrelevance", "missing")  # kinds in which nothing is called


class Config(Generated):
    """The folder of the families, relative to the dataset's."""

    kind: Literal["toolbox"]
    path: str = "tools"


class Tool(Part):
    """A tool. A parameter whose name ends in `?` may be left out."""

    name: str
    description: str
    parameters: dict[str, dict]

    def as_openai(self) -> dict:
        """The tool as a request offers it."""
        schema = {
            "type": "object",
            "properties": {key.removesuffix("?"): about for key, about in self.parameters.items()},
            "required": [key for key in self.parameters if not key.endswith("?")],
        }
        function = {"name": self.name, "description": self.description, "parameters": schema}
        return {"type": "function", "function": function}


class WantedCall(Part):
    """A call. `also` are other values that are right; null says that it may be left out."""

    name: str
    arguments: dict
    also: dict[str, list] = {}


class Calling(Part):
    """Calls that are made at once, and what each gives back."""

    reasoning: list[str]
    calls: list[WantedCall] = Field(min_length=1)
    results: list[str]


class Case(Numbers):
    """A request, in the words of several settings."""

    kind: Literal[
        "simple", "multiple", "parallel", "chain", "failing", "irrelevance", "missing", "forbidden"
    ]
    words: list[dict[str, str]] = Field(min_length=1)
    user: list[str]
    steps: list[Calling] = []
    forbids: list[str] = []  # tools that the user rules out
    reasoning: list[str]
    answer: list[str]
    states: str = ""  # the number or word that the answer says
    says: list[str] = []  # texts that it says


class Family(Part):
    """Tools, and what is asked of them."""

    heldout: bool = False
    tools: list[Tool]
    cases: list[Case]


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Conversations spread evenly over the cases and their settings. Raises MixError where a case
    is not what its kind says."""
    settings = []
    for path in matching(context.path(config.path), "*.yaml"):
        family = load(path, Family)
        if family.heldout == context.heldout:
            settings += [
                (path, family, case, words) for case in family.cases for words in case.words
            ]
    random.Random(f"toolbox {context.seed}").shuffle(settings)
    for number in range(config.wanted(context.heldout)):
        path, family, case, words = settings[number % len(settings)]
        rng = random.Random(f"toolbox {context.seed} {config.category} {number}")
        offered = [
            tool.as_openai()
            for tool in rng.sample(family.tools, len(family.tools))
            if case.kind != "simple" or tool.name == case.steps[0].calls[0].name
        ]
        try:
            turn = _Told(case, dict(words), tools.parameters(offered), rng).turn()
        except (TextError, tools.ToolError) as error:
            raise MixError(f"{path}: {case.kind}, {words}: {error}") from None
        yield Conversation(
            id=f"tools-{config.category}-{number:05d}",
            turns=(turn,),
            tags=(f"asks:{case.kind}", f"family:{Path(path).stem}"),
            group=f"toolbox {path.stem} {family.cases.index(case)}",
            offered=tuple(offered),
        )


@dataclass
class _Told:
    """One conversation as it is written."""

    case: Case
    words: dict[str, str]
    schemas: dict[str, dict]
    rng: random.Random

    def turn(self) -> Turn:
        """The exchange. Raises TextError."""
        case = self.case
        render = Renderer(case.values(self.rng), case.let, self.words, {}, self.rng)
        user = render.question(self.rng.choice(case.user))
        steps = tuple(self._step(step, render) for step in case.steps)
        reasoning = render.one_of(case.reasoning)
        answer = render.one_of(case.answer)
        says = [render(text) for text in case.says]
        if case.states:
            says.append(render(f"{{{case.states}:n}}"))
        check = {"kind": "calls", "value": "[]", "says": says}
        self._check_kind(steps, answer)
        return Turn(_capital(user), _capital(reasoning), _capital(answer), check=check, steps=steps)

    def _step(self, step: Calling, render: Renderer) -> Step:
        calls = []
        wanted = []
        for one in step.calls:
            arguments = {key: _filled(value, render) for key, value in one.arguments.items()}
            call = tools.Call(one.name, arguments)
            fault = tools.fault(call, self.schemas)
            if fault:
                raise TextError(fault)
            calls.append(call)
            right = {key: [value] for key, value in arguments.items()} | one.also
            wanted.append({"name": one.name, "arguments": right})
        if len(step.results) != len(calls):
            raise TextError("each call wants a result")
        check = {"kind": "calls", "value": json.dumps(wanted, ensure_ascii=False)}
        results = tuple(map(render, step.results))
        return Step(_capital(render.one_of(step.reasoning)), tuple(calls), results, check=check)

    def _check_kind(self, steps: tuple[Step, ...], answer: str) -> None:
        """Raise TextError where a conversation is not what its kind says."""
        kind = self.case.kind
        called = [call.name for step in steps for call in step.calls]
        is_so = {
            "parallel": any(len(step.calls) > 1 for step in steps),
            "chain": len(steps) > 1,
            "failing": any("error" in result for step in steps for result in step.results),
            "missing": "?" in answer,
            "forbidden": bool(self.case.forbids) and not set(called) & set(self.case.forbids),
        }
        if not is_so.get(kind, True) or (kind in SILENT) == bool(called):
            raise TextError(f"calls {called} in a conversation of kind {kind}")


def _filled(value: Any, render: Renderer) -> Any:
    """An argument with its slots filled: a slot alone is a number, where it names one, or yes or
    no."""
    if isinstance(value, list):
        return [_filled(one, render) for one in value]
    if not isinstance(value, str):
        return value
    name = value.strip("{}")
    if value == f"{{{name}}}" and name in render.values:
        return plain(render.values[name])
    text = render(value)
    return {"true": True, "false": False}.get(text, text)


def _capital(text: str) -> str:
    """A text that begins a sentence, where it does not begin with a name in small letters."""
    first = text.split(maxsplit=1)[0]
    return text[0].upper() + text[1:] if first.isalpha() else text
