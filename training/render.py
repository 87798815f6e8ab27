"""From a row to token ids and labels, with loss on exactly the trained replies.

The model's own chat template writes the text. It is rendered once with a placeholder in the place
of every text part, which tells what the template writes and where each message's text goes; then
the real texts are put in. So a turn marker or an `[IMG]` that a user typed, or that a tool gave
back, is text of that message and nothing else: it moves no role, no loss and no image. Tools and
calls of them, which a template may write in any form, are given as they are, the letters of
special tokens in them taken out and put back as letters.

Token boundaries follow what a server does. Special tokens that the template writes are special; the
same letters in a message are not. A trained reply begins at a token boundary, because at inference
the prompt is tokenised alone and the model writes from there: `<|assistant|>\\n` followed by a
reply that begins with a newline would otherwise fuse into one token that belongs to both.
Everything else is tokenised jointly, as a server tokenises a prompt.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from common import facts, rows
from common.chat import IMAGE_TOKENS
from common.errors import AetherError

IGNORE = -100  # the label that carries no loss, PyTorch's default ignore_index
# Goes into the cache key of lengths: raise it when the same row may give other tokens or labels.
VERSION = 2
# The placeholder of a text part, in characters of Unicode's private use; or of a special token in
# a tool, in letters that no template escapes.
SLOT = re.compile("\ue000(\\d+)\\.(\\d+)\ue001|zqSpecial(\\d+)qz")


class RenderError(AetherError):
    """The chat template does something with a conversation that the mask cannot be exact about."""


@dataclass(frozen=True)
class Encoded:
    """One row as the model reads it."""

    input_ids: np.ndarray  # int32, shape (tokens,)
    labels: np.ndarray  # int32, shape (tokens,): the id itself where it is trained, else IGNORE
    images: tuple[rows.Image, ...]  # in the order of their placeholders


@dataclass(frozen=True)
class Told:
    """What a template is told of a message besides its texts."""

    role: str
    kinds: tuple[str, ...]  # of its parts
    trained: bool
    rest: str  # its calls and the like, as JSON


@dataclass(frozen=True)
class Shape:
    """What decides the layout of a conversation."""

    messages: tuple[Told, ...]
    tools: str  # JSON


@dataclass(frozen=True)
class Piece:
    """A run of the rendered text: written by the template, or a text part of message `message`."""

    text: str
    trained: bool
    plain: bool = False  # the letters of special tokens in it are letters
    message: int | None = None
    part: int = 0


class Renderer:
    """Renders rows with a tokenizer that has a chat template, and an image geometry.

    `tokenizer` is a transformers fast tokenizer; `longest_edge` and `patch` are the image
    processor's, in pixels.
    """

    def __init__(self, tokenizer, longest_edge: int = facts.LONGEST_EDGE, patch: int = facts.PATCH):
        if not getattr(tokenizer, "is_fast", False):
            raise RenderError(
                f"{type(tokenizer).__name__} is not a fast tokenizer: it gives no character offsets"
            )
        if not tokenizer.chat_template:
            raise RenderError("the tokenizer has no chat template")
        self.tokenizer = tokenizer
        self.longest_edge = longest_edge
        self.patch = patch
        # A copy that reads special tokens in a text as plain letters.
        self.plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.plain.encode_special_tokens = True
        self.plain.no_truncation()
        added = tokenizer.added_tokens_decoder.items()
        self.special = {token.content: id_ for id_, token in added if token.special}
        longest_first = sorted(self.special, key=len, reverse=True)
        self.special_pattern = re.compile("|".join(map(re.escape, longest_first)))
        for token in IMAGE_TOKENS:
            if token not in self.special:
                raise RenderError(f"{token} is not a special token of this tokenizer")
        self.image_ids = [self.special[token] for token in IMAGE_TOKENS]
        self._layout = lru_cache(maxsize=512)(self._layout_of)

    @property
    def key(self) -> str:
        """A hash of everything besides the row that decides its tokens."""
        template = self.tokenizer.chat_template
        state = (VERSION, self.plain.to_str(), template, self.longest_edge, self.patch)
        return hashlib.sha256(repr(state).encode()).hexdigest()[:16]

    def _template(self, messages: list[dict], tools: list[dict] | None, **kwargs) -> str:
        """What the template writes. It gets the arguments of calls as objects, as servers hand them
        on."""
        given = [_with_objects(message) for message in messages]
        try:
            return self.tokenizer.apply_chat_template(given, tools=tools, tokenize=False, **kwargs)
        except Exception as error:  # jinja raises whatever the template asks it to
            raise RenderError(f"the chat template refuses this conversation: {error}") from None

    def _layout_of(self, shape: Shape) -> tuple[Piece, ...]:
        """The pieces of a conversation of that shape. Raises RenderError."""
        tools = json.loads(self._without_special(shape.tools))
        messages = []
        for number, told in enumerate(shape.messages):
            rest = json.loads(self._without_special(told.rest))
            messages.append(_with_slots(number, told) | rest)
        text = self._template(messages, tools)
        spans = []
        for number, told in enumerate(shape.messages):
            if told.trained:
                until = self._template(messages[: number + 1], tools)
                if not text.startswith(until):
                    raise RenderError(
                        "the chat template writes a turn differently once another follows"
                    )
                spans.append((number, len(until)))
        pieces = self._cut(text, spans)
        wanted = [
            (number, part)
            for number, told in enumerate(shape.messages)
            for part, kind in enumerate(told.kinds)
            if kind == "text"
        ]
        if [(piece.message, piece.part) for piece in pieces if piece.message is not None] != wanted:
            raise RenderError("the chat template drops, repeats or reorders messages")
        images = sum(told.kinds.count("image") for told in shape.messages)
        if sum(piece.text.count("[IMG]") for piece in pieces if not piece.plain) != images:
            raise RenderError("the chat template does not write one [IMG] an image")
        return tuple(pieces)

    def _without_special(self, text: str) -> str:
        """JSON in which each special token is replaced by its placeholder."""
        return self.special_pattern.sub(lambda token: f"zqSpecial{self.special[token[0]]}qz", text)

    def _cut(self, text: str, spans: list[tuple[int, int]]) -> list[Piece]:
        """A rendering with placeholders, cut at them and at the ends of trained turns.

        Args:
            text: The rendering.
            spans: (number of a trained message, where its turn ends in `text`).
        """
        names = {id_: token for token, id_ in self.special.items()}
        begins = {number: text.find(_slot(number, 0)) for number, _ in spans}
        ranges = [(begins[number], end) for number, end in spans]
        slots = {slot.start(): slot for slot in SLOT.finditer(text)}
        cuts = {0, len(text), *(end for _, end in ranges)}
        for start, slot in slots.items():
            cuts |= {start, slot.end()}
        pieces = []
        for start, end in pairwise(sorted(cuts)):
            trained = any(begin <= start < stop for begin, stop in ranges)
            found = slots.get(start)
            if found is None:
                pieces.append(Piece(text[start:end], trained))
            elif found[3]:
                pieces.append(Piece(names[int(found[3])], trained, plain=True))
            else:
                pieces.append(Piece("", trained, True, int(found[1]), int(found[2])))
        return pieces

    def text(self, messages: list[dict], tools: list[dict] | None = None) -> str:
        """The rendered text, images as one [IMG] each; checked against the template's own rendering
        of the real texts.
        """
        return "".join(text for _, text in self._filled(messages, tools))

    def _filled(self, messages: list[dict], tools: list[dict] | None) -> list[tuple[Piece, str]]:
        """The pieces with their texts, messages put in. Raises RenderError where the template would
        write another text.
        """
        filled = []
        for piece in self._layout(_shape_of(messages, tools)):
            text = piece.text
            if piece.message is not None:
                text = messages[piece.message]["content"][piece.part]["text"]
            filled.append((piece, text))
        if "".join(text for _, text in filled) != self._template(messages, tools):
            raise RenderError(
                "the chat template changes the text of a message (it trims or rewrites it)"
            )
        return filled

    def encode(self, row: dict, folder: Path) -> Encoded:
        """The row's tokens and labels; images are measured by their headers and not decoded.

        The row's first token is never trained: in a bin it would be predicted from the row before.
        Raises RenderError, and RowError for an image that may not be read.
        """
        images = rows.images(row, folder)
        writer = _Writer(self, iter(images))
        for piece, text in self._filled(row["messages"], row.get("tools")):
            if piece.trained and piece.message is not None and piece.part == 0:
                writer.flush()  # the token boundary at which generation starts
            if piece.plain:
                writer.content(text, piece.trained)
            else:
                writer.template(text, piece.trained)
        writer.flush()
        labels = np.array(writer.labels, np.int32)
        labels[:1] = IGNORE
        return Encoded(np.array(writer.ids, np.int32), labels, tuple(images))

    def image_placeholder(self, image: rows.Image) -> list[int]:
        """The ids an image stands for: a row of [IMG] and an [IMG_BREAK] for each row of patches,
        the last an [IMG_END].
        """
        width, height = facts.resized(image.width, image.height, self.longest_edge, self.patch)
        img, line_break, end = self.image_ids
        line = [img] * (width // self.patch) + [line_break]
        return line * (height // self.patch - 1) + line[:-1] + [end]


def _shape_of(messages: list[dict], tools: list[dict] | None) -> Shape:
    told = []
    for message in messages:
        kinds = tuple(part["type"] for part in message["content"])
        rest = {key: message[key] for key in sorted(message.keys() - {"role", "content", "weight"})}
        trained = message.get("weight") == 1
        told.append(Told(message["role"], kinds, trained, json.dumps(rest, ensure_ascii=False)))
    return Shape(tuple(told), json.dumps(tools, ensure_ascii=False))


def _slot(message: int, part: int) -> str:
    """The placeholder of a text part."""
    return f"\ue000{message}.{part}\ue001"


def _with_slots(number: int, told: Told) -> dict:
    """Message `number` of a conversation with a placeholder in the place of each text."""
    content = []
    for part, kind in enumerate(told.kinds):
        if kind == "image":
            content.append({"type": "image"})
        else:
            content.append({"type": "text", "text": _slot(number, part)})
    return {"role": told.role, "content": content}


def _with_objects(message: dict) -> dict:
    """A message with the arguments of its calls as objects in the place of their JSON."""
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        arguments = json.loads(function["arguments"] or "{}")
        calls.append(call | {"function": function | {"arguments": arguments}})
    return message | {"tool_calls": calls}


class _Writer:
    """Collects text up to the next forced token boundary, then tokenises it and labels each token
    by where it begins.
    """

    def __init__(self, renderer: Renderer, images: Iterator[rows.Image]):
        self.renderer = renderer
        self.images = images
        self.ids: list[int] = []
        self.labels: list[int] = []
        self._runs: list[tuple[str, bool]] = []

    def content(self, text: str, trained: bool) -> None:
        """Text in which special tokens are plain letters."""
        if text:
            self._runs.append((text, trained))

    def template(self, text: str, trained: bool) -> None:
        """Text of the template: its special tokens are special, and end the run of joint
        tokenisation.
        """
        cursor = 0
        for match in self.renderer.special_pattern.finditer(text):
            self.content(text[cursor : match.start()], trained)
            self.flush()
            if match[0] == "[IMG]":
                ids = self.renderer.image_placeholder(next(self.images))
            else:
                ids = [self.renderer.special[match[0]]]
            self.ids += ids
            self.labels += ids if trained else [IGNORE] * len(ids)
            cursor = match.end()
        self.content(text[cursor:], trained)

    def flush(self) -> None:
        """Tokenise what was collected; a token belongs to the run of text in which it begins."""
        if not self._runs:
            return
        text = "".join(text for text, _ in self._runs)
        encoding = self.renderer.plain.encode(text, add_special_tokens=False)
        ends = np.cumsum([len(text) for text, _ in self._runs])
        flags = np.array([trained for _, trained in self._runs])
        self._runs = []
        starts = np.array([start for start, _ in encoding.offsets], np.int64)
        runs = np.searchsorted(ends, starts, side="right").clip(max=len(flags) - 1)
        self.ids += encoding.ids
        self.labels += np.where(flags[runs], encoding.ids, IGNORE).tolist()
