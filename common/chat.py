"""The chat format of Apriel-1.5: turn markers, and replies made of reasoning and a final answer.

A complete reply is

    Here are my reasoning steps:
    {reasoning}
    [BEGIN FINAL RESPONSE]
    {answer}
    [END FINAL RESPONSE]

In Apriel-1.5 the turn markers and the response markers are plain text, several tokens each, not
special tokens: a user can type them, and `skip_special_tokens` does not remove them.

A reply that calls tools says so at the end of its answer (common.tools).
"""

from dataclasses import dataclass

SYSTEM, USER, ASSISTANT, END_OF_TURN = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
TOOL = "<|tool_result|>"
REASONING = "Here are my reasoning steps:"
BEGIN_FINAL, END_FINAL = "[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"
TURN_MARKERS = (SYSTEM, USER, ASSISTANT, TOOL, END_OF_TURN)
IMAGE_TOKENS = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
# What no reasoning, answer or user text of ours may contain: it would change what a reader of the
# rendered text sees.
RESERVED = (*TURN_MARKERS, BEGIN_FINAL, END_FINAL, *IMAGE_TOKENS)

COMPLETE, TRUNCATED, UNANSWERED = "complete", "truncated", "unanswered"


def reserved_in(text: str) -> str | None:
    """The first reserved marker that stands in `text`, or None."""
    return min((m for m in RESERVED if m in text), key=text.index, default=None)


def compose(reasoning: str, answer: str) -> str:
    """The full reply as the model writes it, ready to stand as an assistant message.

    Raises ValueError when a part is blank or holds a reserved marker: such a reply could not be
    split back.
    """
    for name, part in (("reasoning", reasoning), ("answer", answer)):
        if not part.strip():
            raise ValueError(f"{name} is blank")
        if marker := reserved_in(part):
            raise ValueError(f"{name} contains the reserved marker {marker!r}")
    return f"{REASONING}\n{reasoning.strip()}\n{BEGIN_FINAL}\n{answer.strip()}\n{END_FINAL}"


@dataclass(frozen=True)
class Reply:
    """A reply taken apart. `answer` is None when the model never began its final response."""

    status: str  # COMPLETE | TRUNCATED | UNANSWERED
    reasoning: str
    answer: str | None
    problems: tuple[str, ...] = ()  # what a well-formed reply would not have, in words


def split(text: str) -> Reply:
    """Take a reply apart, however damaged; never raises.

    The answer is what stands in the last block that was begun: a model that reasons about its own
    format may write the markers before it means them. A block that was begun and not ended is
    `truncated`; a reply without one is `unanswered`, and all of it counts as reasoning. Text after
    a turn marker is not the assistant's and is dropped.
    """
    problems = []
    ends = [text.index(m) for m in TURN_MARKERS if m in text]
    if ends:
        text, rest = text[: min(ends)], text[min(ends) :]
        if rest.removeprefix(END_OF_TURN).removesuffix("</s>").strip():
            problems.append("goes on after the end of the turn")
    head, begun, tail = text.rpartition(BEGIN_FINAL)
    if not begun:
        head, tail = text, ""
    if BEGIN_FINAL in head:
        problems.append("more than one final response")
    if END_FINAL in head:
        problems.append("a final response ends before it begins")
    reasoning = head.strip()
    if reasoning.startswith(REASONING):
        reasoning = reasoning[len(REASONING) :].strip()
    else:
        problems.append("does not begin with its reasoning")
    if not begun:
        return Reply(UNANSWERED, reasoning, None, tuple(problems))
    answer, ended, after = tail.partition(END_FINAL)
    if after.strip():
        problems.append("text after the final response")
    if ended and not answer.strip():
        problems.append("empty final response")
    return Reply(COMPLETE if ended else TRUNCATED, reasoning, answer.strip(), tuple(problems))


def final_only(text: str) -> str:
    """An earlier assistant turn as a serving client sends it back: the final answer alone, or the
    text when it has none."""
    answer = split(text).answer
    return text if answer is None else answer
