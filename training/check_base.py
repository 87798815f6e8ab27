"""What a base model's own files say, compared with the facts that this repository relies on.

No weight is loaded.
"""

import json
import struct
from pathlib import Path

from common import chat, facts, tools
from common.errors import AetherError
from common.facts import Shape
from common.files import load_json
from common.rows import text_parts
from training.render import Renderer, RenderError


class Comparison:
    """Points that agree, sentences on those that differ, and on those that may."""

    def __init__(self):
        self.same: list[str] = []
        self.differs: list[str] = []
        self.notes: list[str] = []

    def equal(self, what: str, found: object, wanted: object) -> None:
        if found == wanted:
            self.same.append(what)
        else:
            self.differs.append(f"{what}: {found!r}, expected {wanted!r}")

    def holds(self, what: str, is_so: bool, otherwise: str) -> None:
        if is_so:
            self.same.append(what)
        else:
            self.differs.append(f"{what}: {otherwise}")


def compare(folder: Path, renderer: Renderer) -> Comparison:
    """A model's configuration, tokenizer, processor and template against common.facts.

    Raises AetherError for unreadable files.
    """
    points = Comparison()
    config = load_json(folder / "config.json")
    try:
        shape = Shape.from_config(config)
    except (KeyError, TypeError) as error:
        raise AetherError(
            f"{folder.name}/config.json: no configuration of a Llava model ({error})"
        ) from None
    _configuration(points, config, shape)
    _tokenizer(points, renderer, shape)
    _geometry(points, config, renderer)
    _template(points, renderer)
    _tools(points, renderer)
    _weights(points, folder, shape)
    return points


def _configuration(points: Comparison, config: dict, shape: Shape) -> None:
    text = config["text_config"]
    rope = text.get("rope_parameters") or text
    points.equal("architecture", config.get("architectures"), ["LlavaForConditionalGeneration"])
    points.equal("vision tower", config["vision_config"].get("model_type"), "pixtral")
    points.equal("decoder", text.get("model_type"), "mistral")
    points.equal("rope_theta", rope.get("rope_theta"), 1e9)
    quantised = config.get("quantization_config") or text.get("quantization_config")
    points.holds(
        "weights as they were trained",
        not quantised,
        "the base is quantised already (quantization_config); give the original in bf16 or float32",
    )
    if shape.vocab == facts.APRIEL_15B.vocab:
        points.equal("sizes", shape, facts.APRIEL_15B)


def _tokenizer(points: Comparison, renderer: Renderer, shape: Shape) -> None:
    tokenizer = renderer.tokenizer
    if shape.vocab == facts.APRIEL_15B.vocab:
        words, ids = facts.FINGERPRINT
        found = tuple(tokenizer(words, add_special_tokens=False)["input_ids"])
        points.equal("fingerprint of the vocabulary", found, ids)
    for token, id_ in facts.SPECIAL_TOKENS.items():
        points.equal(f"id of {token}", tokenizer.convert_tokens_to_ids(token), id_)
    for marker in (*chat.TURN_MARKERS, chat.BEGIN_FINAL, chat.END_FINAL):
        pieces = tokenizer(marker, add_special_tokens=False)["input_ids"]
        points.holds(
            f"{marker} is plain text",
            len(pieces) > 1,
            "one token of this tokenizer, so that a server would read it otherwise than it is "
            "trained",
        )
    largest = max(tokenizer.get_vocab().values())
    points.holds(
        "every token has an embedding",
        largest < shape.vocab,
        f"the tokenizer has id {largest}, config.json a vocab_size of {shape.vocab}",
    )


def _geometry(points: Comparison, config: dict, renderer: Renderer) -> None:
    """The configuration, the tokenizer and the processor must mean the same places and sizes of an
    image.
    """
    vision = config["vision_config"]
    points.equal("longest edge", renderer.longest_edge, facts.LONGEST_EDGE)
    points.equal("patch", renderer.patch, facts.PATCH)
    points.equal("vision_config.patch_size", vision.get("patch_size", 16), renderer.patch)
    image_size = vision.get("image_size", 1024)
    points.holds(
        "vision_config.image_size",
        image_size >= renderer.longest_edge,
        f"{image_size}, smaller than the processor's longest edge {renderer.longest_edge}",
    )
    token = config.get("image_token_index", config.get("image_token_id"))
    wanted = renderer.tokenizer.convert_tokens_to_ids("[IMG]")
    points.equal("image_token_index", token, wanted)


def _template(points: Comparison, renderer: Renderer) -> None:
    """What the chat template writes, and that a reply is trained from the very place where a server
    lets the model write.
    """
    texts = {"system": "S", "user": "U", "assistant": "A"}
    messages = [{"role": role, "content": text_parts(text)} for role, text in texts.items()]
    wanted = (
        f"<s><|system|>\n{facts.DEFAULT_SYSTEM}S\n<|end|>\n<|user|>\nU\n<|end|>\n"
        "<|assistant|>\nA\n<|end|>\n</s>"
    )
    rendered = renderer.text(messages)
    points.equal("template", rendered, wanted)
    prompt = renderer.tokenizer.apply_chat_template(
        messages[:2], tokenize=False, add_generation_prompt=True
    )
    points.holds(
        "a reply begins where the generation prompt ends",
        rendered.startswith(f"{prompt}A"),
        f"the prompt ends in {prompt[-20:]!r}, the trained text goes on with "
        f"{rendered[len(prompt) :][:20]!r}",
    )


def _tools(points: Comparison, renderer: Renderer) -> None:
    """Whether the chat template shows tools before the first turn, calls of them as they are
    trained, and a result as a turn of its own. Rows without tools do not need it.
    """
    offered = [{"type": "function", "function": {"name": "probe", "parameters": {}}}]
    texts = {"user": "U", "assistant": "", "tool": "R"}
    messages: list[dict] = [
        {"role": role, "content": text_parts(text)} for role, text in texts.items()
    ]
    messages[1]["tool_calls"] = [tools.Call("probe", {"n": 7}).as_openai("c1")]
    messages[2]["tool_call_id"] = "c1"
    try:
        rendered = renderer.text(messages, offered)
    except RenderError as error:
        points.notes.append(f"tools: {error}")
        return
    head, _, turns = rendered.partition(chat.USER)
    found = Comparison()
    found.holds("tools in the system turn", "probe" in head, "the template does not show them")
    shown = tools.OPEN in turns and "probe" in turns and "7" in turns
    found.holds("calls of tools", shown, f"the template does not write them in {tools.OPEN}")
    wanted = f"{chat.TOOL}\nR\n{chat.END_OF_TURN}"
    found.holds("results of tools", wanted in turns, f"the template does not write {wanted!r}")
    points.same += found.same
    points.notes += found.differs


def _weights(points: Comparison, folder: Path, shape: Shape) -> None:
    """The weights' own widths, where they are there: config.json may be another model's."""
    shapes: dict[str, list[int]] = {}
    for path in folder.glob("*.safetensors"):
        shapes |= _tensor_shapes(path)
    embeddings = [size for name, size in shapes.items() if name.endswith("embed_tokens.weight")]
    if embeddings:
        points.equal("width of the embeddings", embeddings[0], [shape.vocab, shape.hidden])


def _tensor_shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor of a safetensors file, from its header alone."""
    with path.open("rb") as file:
        length = file.read(8)
        try:
            header = json.loads(file.read(struct.unpack("<Q", length)[0]))
        except (ValueError, struct.error, MemoryError, OverflowError):
            raise AetherError(f"{path}: not a safetensors file, or cut short") from None
    return {name: about["shape"] for name, about in header.items() if name != "__metadata__"}
