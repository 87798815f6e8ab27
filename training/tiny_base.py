"""The tiny model: the same classes, processor, chat template, special-token ids and checkpoint key
layout as Apriel-1.5.

    python -m training.tiny_base tiny_init_v2
                                      writes outputs/tiny_init_v2: random weights, and a tokenizer
                                      trained on datasets/tiny

It exists so that every line of the pipeline runs for real on a laptop. `recipes/tiny_base` then
trains it from scratch.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PixtralImageProcessor,
    PixtralProcessor,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
)

from common import facts, rows
from common.errors import command
from common.files import ROOT, shown, written_aside
from common.options import parser_of

CHAT_TEMPLATE = ROOT / "common" / "chat_template.jinja"
# Tekken's way of cutting text into words, which decides what can fuse: `>` and a newline can.
WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def learned_bpe(texts: Iterable[str], entries: int) -> Tokenizer:
    """A byte-level BPE of that many entries, words cut as Tekken cuts them."""
    learner = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=2,
    )
    learner.train_from_iterator(texts, trainer)
    return learner


def tokenizer(texts: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `vocab` entries, the first 1,000 reserved as in Pixtral's."""
    learner = learned_bpe(texts, vocab - facts.RESERVED_IDS)
    learned = json.loads(learner.to_str())["model"]
    by_id = {id_: token for token, id_ in facts.SPECIAL_TOKENS.items()}
    special = [by_id.get(i, f"<SPECIAL_{i}>") for i in range(facts.RESERVED_IDS)]
    ids = {token: i for i, token in enumerate(special)}
    ids |= {token: i + facts.RESERVED_IDS for token, i in learned["vocab"].items()}
    merges = [tuple(pair) for pair in learned["merges"]]
    backend = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=True))
    backend.pre_tokenizer = learner.pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8"),
        clean_up_tokenization_spaces=False,
    )


def config_of(shape: facts.Shape) -> LlavaConfig:
    """The configuration of that shape, rotary bases and geometry as in Apriel-1.5."""
    text = MistralConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
        max_position_embeddings=65536,
        sliding_window=None,
        bos_token_id=facts.SPECIAL_TOKENS["<s>"],
        eos_token_id=facts.SPECIAL_TOKENS["</s>"],
        pad_token_id=facts.SPECIAL_TOKENS["<pad>"],
        tie_word_embeddings=False,
    )
    vision = PixtralVisionConfig(
        hidden_size=shape.vision_hidden,
        intermediate_size=shape.vision_ffn,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=4,
        image_size=facts.LONGEST_EDGE,
        patch_size=facts.PATCH,
    )
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=facts.SPECIAL_TOKENS["[IMG]"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        projector_hidden_act="gelu",
        image_seq_length=1,
        tie_word_embeddings=False,
    )


def model(shape: facts.Shape, seed: int) -> LlavaForConditionalGeneration:
    """The model of that shape with random weights in float32."""
    torch.manual_seed(seed)
    built = LlavaForConditionalGeneration(config_of(shape))
    with torch.no_grad():
        # Transformers draws every map with std 0.02, made for widths of thousands: at this width no
        # layer is heard over the residual stream, and the eyes stay shut. 1/sqrt(inputs) keeps the
        # size of what goes through (LeCun et al. 1998, Efficient BackProp).
        for module in built.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
        # Tokens that the base's plain text never shows keep the rows they are drawn with, and an
        # adapter leaves them frozen: drawn this wide, the head can still tell them apart.
        torch.nn.init.normal_(built.lm_head.weight, std=0.1)
        torch.nn.init.normal_(built.model.language_model.embed_tokens.weight, std=0.1)
    generation = built.generation_config
    generation.bos_token_id = facts.SPECIAL_TOKENS["<s>"]
    generation.eos_token_id = facts.SPECIAL_TOKENS["</s>"]
    generation.pad_token_id = facts.SPECIAL_TOKENS["<pad>"]
    return built


def texts(file: Path) -> Iterator[str]:
    """What a model reads of each row: its messages, and the system prompt that the chat template
    puts before every one.
    """
    for row in rows.read(file):
        yield facts.DEFAULT_SYSTEM
        for message in row["messages"]:
            yield rows.text_of(message)


def write(folder: Path, data: Path, seed: int = 0, shape: facts.Shape = facts.TINY) -> None:
    """Write the tiny model with random weights to `folder`, whole or not at all; the tokenizer
    learns from `data`/train.jsonl.
    """
    learned = tokenizer(texts(data / "train.jsonl"), shape.vocab)
    patch = {"height": facts.PATCH, "width": facts.PATCH}
    image_processor = PixtralImageProcessor(
        size={"longest_edge": facts.LONGEST_EDGE}, patch_size=patch
    )
    processor = PixtralProcessor(
        image_processor=image_processor,
        tokenizer=learned,
        patch_size=facts.PATCH,
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8"),
    )
    with written_aside(folder) as aside:
        model(shape, seed).save_pretrained(aside)
        processor.save_pretrained(aside)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("name", choices=facts.RANDOM_BASES, help="its folder under outputs/")
    parser.add_argument("--data", type=Path, default=ROOT / "datasets" / "tiny" / "build")
    options = parser.parse_args()
    folder = ROOT / "outputs" / options.name
    write(folder, options.data, shape=facts.RANDOM_BASES[options.name])
    print(f"wrote {shown(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
