"""An exported model is asked, not only weighed: the same questions as the merged model, greedily.

The questions are the recipe's own validation rows, as many with pictures as without. The merged
model answers through transformers in this process, the export through its server. What is recorded
are equal tokens until the first difference, where that is, and how far apart the merged model's
logits of the two tokens are there: a gap near zero is a tie that rounding decides.
"""

import itertools
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from common import rows
from common.facts import SPECIAL_TOKENS
from common.pictures import decode, picture_part
from common.servers import Endpoint

QUESTIONS = 40
TOKENS = 32  # of each answer
END = SPECIAL_TOKENS["</s>"]
ANSWER_SECONDS = 600
# How each server is asked to name its tokens. The log probabilities of llama.cpp leave out a token
# that ends within a character.
TOKENS_TOLD: dict[str, dict] = {
    "llama": {"return_tokens": True, "verbose": True},
    "vllm": {"logprobs": True, "top_logprobs": 1, "return_tokens_as_token_ids": True},
}


@dataclass(frozen=True)
class Question:
    """One turn to answer: messages of a row up to its last answer, pictures as files."""

    id: str
    messages: list[dict]
    pictures: list[Path]


@dataclass(frozen=True)
class Answer:
    """Greedy tokens without the end of the sequence; logits, (tokens + 1, vocabulary), where the
    model gives them.
    """

    tokens: list[int]
    prompt_tokens: int
    logits: torch.Tensor | None = None


def questions(path: Path) -> list[Question]:
    """The first rows of a file of rows, half of them with pictures where there are as many."""
    found = [_question(row, path.parent) for row in rows.read(path)]
    seeing = [question for question in found if question.pictures][: QUESTIONS // 2]
    reading = [question for question in found if not question.pictures]
    return [*seeing, *reading[: QUESTIONS - len(seeing)]]


def _question(row: dict, folder: Path) -> Question:
    messages = row["messages"][:-1]
    parts = itertools.chain.from_iterable(message["content"] for message in messages)
    pictures = [folder / part["path"] for part in parts if part["type"] == "image"]
    return Question(row["id"], messages, pictures)


class Merged:
    """The merged model in this process, on a GPU where there is one."""

    def __init__(self, folder: Path):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.processor = AutoProcessor.from_pretrained(folder)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
        self.model = model.to(self.device).eval()

    def answer(self, question: Question) -> Answer:
        """Its greedy answer, with the logits of each token and of what came after the last."""
        text = self.processor.apply_chat_template(question.messages, add_generation_prompt=True)
        inputs = self.processor(
            text=text,
            images=[decode(path, None) for path in question.pictures] or None,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        made = self.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=TOKENS,
            output_logits=True,
            return_dict_in_generate=True,
        )
        prompt_tokens = inputs["input_ids"].shape[1]
        tokens = made.sequences[0, prompt_tokens:].tolist()
        logits = torch.cat(made.logits).float().cpu()
        return Answer([token for token in tokens if token != END], prompt_tokens, logits)


def ask(endpoint: Endpoint, question: Question) -> Answer:
    """The greedy answer of a server of llama.cpp or vLLM. Raises OSError where there is none."""
    body = {
        "model": endpoint.model,
        "messages": [_sent(message, question) for message in question.messages],
        "temperature": 0,
        "max_tokens": TOKENS,
        **TOKENS_TOLD[endpoint.kind],
    }
    request = urllib.request.Request(
        f"{endpoint.url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {endpoint.key}"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:
        found = json.load(reply)
    tokens = _tokens_of(found)
    prompt_tokens = found["usage"]["prompt_tokens"]
    return Answer([token for token in tokens if token != END], prompt_tokens)


def _tokens_of(found: dict) -> list[int]:
    if "__verbose" in found:
        return found["__verbose"]["tokens"]
    told = found["choices"][0]["logprobs"] or {"content": []}  # none where it ended at once
    return [int(entry["token"].removeprefix("token_id:")) for entry in told["content"]]


def _sent(message: dict, question: Question) -> dict:
    """A message as OpenAI's chat completions want it, pictures as data."""
    files = {path.name: path for path in question.pictures}
    parts = []
    for part in message["content"]:
        if part["type"] == "image":
            parts.append(picture_part(files[Path(part["path"]).name].read_bytes()))
        else:
            parts.append({"type": "text", "text": part["text"]})
    return {"role": message["role"], "content": parts}


def first_difference(merged: Answer, exported: Answer) -> dict | None:
    """Where two answers part: {"place", "gap"}, the gap in the merged model's logits between its
    own token and the export's; None where they are equal.
    """
    longest = min(TOKENS, max(len(merged.tokens), len(exported.tokens)))
    for place in range(longest):
        own, other = (
            answer.tokens[place] if place < len(answer.tokens) else END
            for answer in (merged, exported)
        )
        if own != other:
            assert merged.logits is not None
            gap = merged.logits[place, own] - merged.logits[place, other]
            return {"place": place, "gap": round(float(gap), 4)}
    return None


def compare(merged: Path, endpoint: Endpoint, asked: list[Question]) -> dict:
    """Ask both the same; the figures for export.json."""
    reference = Merged(merged)
    differences = []
    equal = {"with_pictures": 0, "without": 0}
    tokens = 0
    prompts = 0
    for question in asked:
        wanted = reference.answer(question)
        given = ask(endpoint, question)
        tokens += len(wanted.tokens)
        prompts += wanted.prompt_tokens == given.prompt_tokens
        parted = first_difference(wanted, given)
        if parted:
            differences.append({"question": question.id, **parted})
        else:
            equal["with_pictures" if question.pictures else "without"] += 1
    seeing = sum(bool(question.pictures) for question in asked)
    return {
        "server": endpoint.kind,
        "questions": {"with_pictures": seeing, "without": len(asked) - seeing},
        "equal": equal,
        "prompts_of_equal_length": prompts,
        "tokens": tokens,
        "differences": differences,
    }
