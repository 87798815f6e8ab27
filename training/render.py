"""From a row to token ids and labels, with loss on exactly the trained replies.

The model's own chat template writes the text. It is rendered once with a placeholder in the place
of every text part, which tells what the template writes and where each message's text goes; then
the real texts are put in. So a turn marker or an `[IMG]` that a user typed is text of that user and
nothing else: it moves no role, no loss and no image.

Token boundaries follow what a server does. Special tokens that the template writes are special; the
same letters in a message are not. A trained reply begins at a token boundary, because at inference
the prompt is tokenised alone and the model writes from there: `<|assistant|>\\n` followed by a
reply that begins with a newline would otherwise fuse into one token that belongs to both.
Everything else is tokenised jointly, as a server tokenises a prompt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from common import facts, rows
from common.chat import IMAGE_TOKENS
from common.errors import AetherError

IGNORE = -100  # the label that carries no loss, PyTorch's default ignore_index
# Goes into the cache key of lengths: raise it when the same row may give other tokens or labels.
VERSION = 2
SLOT = re.compile("\ue000(\\d+)\\.(\\d+)\ue001")

Shape = tuple[tuple[str, tuple[str, ...]], ...]  # role and kinds of parts of each message


class RenderError(AetherError):
    """The chat template does something with a conversation that the mask cannot be exact about."""


@dataclass(frozen=True)
class Encoded:
    """One row as the model reads it."""

    input_ids: np.ndarray  # int32, shape (tokens,)
    labels: np.ndarray  # int32, shape (tokens,): the id itself where it is trained, else IGNORE
    images: tuple[rows.Image, ...]  # in the order of their placeholders


@dataclass(frozen=True)
class Piece:
    """A run of the rendered text: written by the template, or a text part of message `message`."""

    text: str
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

    def _template(self, messages: list[dict], **kwargs) -> str:
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)
        except Exception as error:  # jinja raises whatever the template asks it to
            raise RenderError(f"the chat template refuses this conversation: {error}") from None

    def _layout_of(self, shape: Shape) -> tuple[tuple[Piece, ...], dict[int, str]]:
        """For a conversation's shape: its pieces, and what the template writes after each reply.
        Raises RenderError.
        """
        messages = [_with_slots(number, *message) for number, message in enumerate(shape)]
        text = self._template(messages)
        pieces = _cut(text)
        wanted = [
            (number, part)
            for number, (_, kinds) in enumerate(shape)
            for part, kind in enumerate(kinds)
            if kind == "text"
        ]
        if [(piece.message, piece.part) for piece in pieces if piece.message is not None] != wanted:
            raise RenderError("the chat template drops, repeats or reorders messages")
        images = sum(kinds.count("image") for _, kinds in shape)
        if sum(piece.text.count("[IMG]") for piece in pieces) != images:
            raise RenderError("the chat template does not write one [IMG] an image")
        ends = {}
        for number, (role, kinds) in enumerate(shape):
            if role != "assistant":
                continue
            until = self._template(messages[: number + 1])
            if not text.startswith(until):
                raise RenderError(
                    "the chat template writes a turn differently once another follows"
                )
            last = _slot(number, len(kinds) - 1)
            ends[number] = until[until.index(last) + len(last) :]
        return tuple(pieces), ends

    def text(self, messages: list[dict]) -> str:
        """The rendered text, images as one [IMG] each; checked against the template's own rendering
        of the real texts.
        """
        pieces, _ = self._layout(_shape_of(messages))
        return "".join(self._fill(pieces, messages))

    def _fill(self, pieces: tuple[Piece, ...], messages: list[dict]) -> list[str]:
        """The text of each piece, messages put in. Raises RenderError where the template would
        write another text.
        """
        filled = []
        for piece in pieces:
            if piece.message is None:
                filled.append(piece.text)
            else:
                filled.append(messages[piece.message]["content"][piece.part]["text"])
        if "".join(filled) != self._template(messages):
            raise RenderError(
                "the chat template changes the text of a message (it trims or rewrites it)"
            )
        return filled

    def encode(self, row: dict, folder: Path) -> Encoded:
        """The row's tokens and labels; images are measured by their headers and not decoded.

        The row's first token is never trained: in a bin it would be predicted from the row before.
        Raises RenderError, and RowError for an image that may not be read.
        """
        messages = row["messages"]
        pieces, ends = self._layout(_shape_of(messages))
        images = rows.images(row, folder)
        writer = _Writer(self, iter(images))
        left = 0  # characters of the end of turn still to come, trained
        for piece, text in zip(pieces, self._fill(pieces, messages), strict=True):
            if piece.message is None:
                writer.template(text[:left], trained=True)
                writer.template(text[left:], trained=False)
                left = 0
                continue
            message = messages[piece.message]
            trained = message.get("weight") == 1
            if trained and piece.part == 0:
                writer.flush()  # the token boundary at which generation starts
            writer.content(text, trained)
            if trained and piece.part == len(message["content"]) - 1:
                left = len(ends[piece.message])
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


def _shape_of(messages: list[dict]) -> Shape:
    return tuple((m["role"], tuple(part["type"] for part in m["content"])) for m in messages)


def _slot(message: int, part: int) -> str:
    """The placeholder of a text part, in characters of Unicode's private use."""
    return f"\ue000{message}.{part}\ue001"


def _with_slots(number: int, role: str, kinds: tuple[str, ...]) -> dict:
    """Message `number` of a conversation with a placeholder in the place of each text."""
    content = []
    for part, kind in enumerate(kinds):
        if kind == "image":
            content.append({"type": "image"})
        else:
            content.append({"type": "text", "text": _slot(number, part)})
    return {"role": role, "content": content}


def _cut(text: str) -> list[Piece]:
    """A rendering with placeholders, cut at them."""
    pieces = []
    cursor = 0
    for slot in SLOT.finditer(text):
        pieces.append(Piece(text[cursor : slot.start()]))
        pieces.append(Piece("", int(slot[1]), int(slot[2])))
        cursor = slot.end()
    pieces.append(Piece(text[cursor:]))
    return pieces


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
