"""From a row to token ids and labels, with loss on exactly the trained replies.

The model's own chat template writes the text. It is rendered once with a placeholder in the place of every text part, which tells
what the template writes and where each message's text goes; then the real texts are put in. So a turn marker or an `[IMG]` that a
user typed is text of that user and nothing else: it moves no role, no loss and no image.

Token boundaries follow what a server does. Special tokens that the template writes are special; the same letters in a message are
not. A trained reply begins at a token boundary, because at inference the prompt is tokenised alone and the model writes from there:
`<|assistant|>\\n` followed by a reply that begins with a newline would otherwise fuse into one token that belongs to both. Everything
else is tokenised jointly, as a server tokenises a prompt.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from common import facts, rows
from common.chat import IMAGE_TOKENS

IGNORE = -100  # the label that carries no loss, PyTorch's default ignore_index
VERSION = 1  # goes into the cache key of lengths: raise it when the same row may give other tokens
_SLOT = re.compile("\ue000(\\d+)\\.(\\d+)\ue001")


class RenderError(ValueError):
    """The chat template does something with a conversation that the mask cannot be exact about."""


@dataclass(frozen=True)
class Encoded:
    """One row as the model reads it."""

    input_ids: np.ndarray  # int32, shape (tokens,)
    labels: np.ndarray  # int32, shape (tokens,): the id itself where it is trained, else IGNORE
    images: tuple[rows.Image, ...]  # in the order of their placeholders


@dataclass(frozen=True)
class _Piece:
    """A run of the rendered text: written by the template, or a text part of message `message`."""

    text: str
    message: int | None = None
    part: int = 0


class Renderer:
    """Renders rows with a tokenizer that has a chat template, and an image geometry.

    `tokenizer` is a transformers fast tokenizer; `longest_edge` and `patch` are the image processor's, in pixels.
    """

    def __init__(self, tokenizer, longest_edge: int = facts.LONGEST_EDGE, patch: int = facts.PATCH):
        if not getattr(tokenizer, "is_fast", False):
            raise RenderError(
                f"{type(tokenizer).__name__} is not a fast tokenizer: it gives no character offsets"
            )
        if not tokenizer.chat_template:
            raise RenderError("the tokenizer has no chat template")
        self.tokenizer, self.longest_edge, self.patch = tokenizer, longest_edge, patch
        # A copy that reads special tokens in a text as plain letters.
        self._plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._special = {
            token.content: id_
            for id_, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self._special_pattern = re.compile(
            "|".join(re.escape(t) for t in sorted(self._special, key=len, reverse=True))
        )
        if missing := [t for t in IMAGE_TOKENS if t not in self._special]:
            raise RenderError(f"{missing[0]} is not a special token of this tokenizer")
        self.image_ids = [tokenizer.convert_tokens_to_ids(t) for t in IMAGE_TOKENS]
        self._pieces = lru_cache(maxsize=512)(self._pieces_of)

    @property
    def key(self) -> str:
        """A hash of everything besides the row that decides its tokens."""
        state = (
            VERSION,
            self._plain.to_str(),
            self.tokenizer.chat_template,
            self.longest_edge,
            self.patch,
        )
        return hashlib.sha256(repr(state).encode()).hexdigest()[:16]

    def _template(self, messages: list[dict], **kwargs) -> str:
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)
        except Exception as error:  # jinja raises whatever the template asks it to
            raise RenderError(f"the chat template refuses this conversation: {error}") from None

    def _pieces_of(
        self, shape: tuple[tuple[str, tuple[str, ...]], ...]
    ) -> tuple[tuple[_Piece, ...], dict[int, str]]:
        """For a conversation's shape (role and kinds of parts of each message): its pieces, and each reply's end of turn."""
        messages = [
            {
                "role": role,
                "content": [
                    {"type": "image"}
                    if kind == "image"
                    else {"type": "text", "text": f"\ue000{m}.{p}\ue001"}
                    for p, kind in enumerate(kinds)
                ],
            }
            for m, (role, kinds) in enumerate(shape)
        ]
        text = self._template(messages)
        pieces, cursor = [], 0
        for slot in _SLOT.finditer(text):
            pieces.append(_Piece(text[cursor : slot.start()]))
            pieces.append(_Piece("", int(slot[1]), int(slot[2])))
            cursor = slot.end()
        pieces.append(_Piece(text[cursor:]))
        wanted = [
            (m, p)
            for m, (_, kinds) in enumerate(shape)
            for p, kind in enumerate(kinds)
            if kind == "text"
        ]
        if [(p.message, p.part) for p in pieces if p.message is not None] != wanted:
            raise RenderError("the chat template drops, repeats or reorders messages")
        if sum(p.text.count("[IMG]") for p in pieces) != sum(
            kinds.count("image") for _, kinds in shape
        ):
            raise RenderError("the chat template does not write one [IMG] an image")
        ends = {}
        for m, (role, kinds) in enumerate(shape):
            if role == "assistant":
                until = self._template(messages[: m + 1])
                last = f"\ue000{m}.{len(kinds) - 1}\ue001"
                if not text.startswith(until):
                    raise RenderError(
                        "the chat template writes a turn differently once another follows"
                    )
                ends[m] = until[until.index(last) + len(last) :]
        return tuple(pieces), ends

    def text(self, messages: list[dict]) -> str:
        """The rendered text, images as one [IMG] each; checked against the template's own rendering of the real texts."""
        shape = tuple((m["role"], tuple(part["type"] for part in m["content"])) for m in messages)
        pieces, _ = self._pieces(shape)
        return "".join(self._fill(pieces, messages))

    def _fill(self, pieces: tuple[_Piece, ...], messages: list[dict]) -> list[str]:
        filled = [
            p.text if p.message is None else messages[p.message]["content"][p.part]["text"]
            for p in pieces
        ]
        if "".join(filled) != self._template(messages):
            raise RenderError(
                "the chat template changes the text of a message (it trims or rewrites it)"
            )
        return filled

    def encode(self, row: dict, folder: Path) -> Encoded:
        """The row's tokens and labels; images are measured by their headers and not decoded.

        Raises RenderError, and rows.RowError for an image that may not be read.
        """
        messages = row["messages"]
        shape = tuple((m["role"], tuple(part["type"] for part in m["content"])) for m in messages)
        pieces, ends = self._pieces(shape)
        images = rows.images(row, folder)
        writer = _Writer(self, iter(images))
        left = 0  # characters of the end of turn still to come, trained
        for piece, text in zip(pieces, self._fill(pieces, messages), strict=True):
            if piece.message is None:
                writer.template(text[:left], trained=True)
                writer.template(text[left:], trained=False)
                left = 0
                continue
            trained = messages[piece.message].get("weight") == 1
            if trained and piece.part == 0:
                writer.flush()  # the token boundary at which generation starts
            writer.content(text, trained)
            if trained and piece.part == len(messages[piece.message]["content"]) - 1:
                left = len(ends[piece.message])
        writer.flush()
        return Encoded(
            np.array(writer.ids, np.int32), np.array(writer.labels, np.int32), tuple(images)
        )

    def image_placeholder(self, image: rows.Image) -> list[int]:
        """The ids an image stands for: a row of [IMG] and an [IMG_BREAK] for each row of patches, the last an [IMG_END]."""
        width, height = facts.resized(image.width, image.height, self.longest_edge, self.patch)
        img, line_break, end = self.image_ids
        line = [img] * (width // self.patch) + [line_break]
        return line * (height // self.patch - 1) + line[:-1] + [end]


class _Writer:
    """Collects text up to the next forced token boundary, then tokenises it and labels each token by where it begins."""

    def __init__(self, renderer: Renderer, images):
        self.renderer, self.images = renderer, images
        self.ids: list[int] = []
        self.labels: list[int] = []
        self._runs: list[tuple[str, bool]] = []

    def content(self, text: str, trained: bool) -> None:
        if text:
            self._runs.append((text, trained))

    def template(self, text: str, trained: bool) -> None:
        """Text of the template: its special tokens are special, and end the run of joint tokenisation."""
        cursor = 0
        for match in self.renderer._special_pattern.finditer(text):
            self.content(text[cursor : match.start()], trained)
            self.flush()
            if match[0] == "[IMG]":
                ids = self.renderer.image_placeholder(next(self.images))
            else:
                ids = [self.renderer._special[match[0]]]
            self.ids += ids
            self.labels += ids if trained else [IGNORE] * len(ids)
            cursor = match.end()
        self.content(text[cursor:], trained)

    def flush(self) -> None:
        if not self._runs:
            return
        encoding = self.renderer._plain.encode(
            "".join(text for text, _ in self._runs), add_special_tokens=False
        )
        # Character ranges that are trained; a token belongs to the range in which it begins.
        bounds, flags, end = [], [], 0
        for text, trained in self._runs:
            end += len(text)
            bounds.append(end)
            flags.append(trained)
        self._runs = []
        starts = np.fromiter(
            (start for start, _ in encoding.offsets), np.int64, len(encoding.offsets)
        )
        trained = np.array(flags)[
            np.searchsorted(bounds, starts, side="right").clip(max=len(flags) - 1)
        ]
        self.ids += encoding.ids
        self.labels += np.where(trained, encoding.ids, IGNORE).tolist()
