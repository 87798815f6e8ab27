"""The bench on pairs: pairs drawn from the bench's rows, and TRL's DPOTrainer on the same ones.

They are of text alone: what Axolotl's `rl: dpo` hands to TRL takes no pictures.
"""

import json
from collections.abc import Callable
from types import SimpleNamespace

from common import rows
from training.bench_rows import OUT, SEQUENCE_LEN

TRL = OUT / "rows" / "trl.jsonl"


def write_pairs(renderer) -> dict[str, float]:
    """Pairs of the drawn rows that show no picture: a row's rejected reply is that of the row
    nearest in length. Written for both sides; what they are.
    """
    folder = OUT / "rows"
    measured = [(len(renderer.encode(row, folder).input_ids), row) for row in text_rows()]
    measured.sort(key=lambda found: found[0])
    pairs = []
    tokens = 0
    for (_, row), (_, other) in zip(measured, measured[1:], strict=False):
        worse = row | {"rejected": {"content": other["messages"][-1]["content"], "why": "another"}}
        both = sum(len(renderer.encode(side, folder).input_ids) for side in rows.sides(worse))
        if both <= SEQUENCE_LEN and rows.text_of(row["messages"][-1]) != reply_of(other):
            pairs.append(worse)
            tokens += both
    for name in ("pairs", "pairs_val"):
        write_lines(f"{name}.jsonl", pairs)
    write_lines(TRL.name, [as_trl(pair) for pair in pairs])
    return {"pairs": len(pairs), "tokens": tokens}


def text_rows() -> list[dict]:
    """The rows of the bench without pictures."""
    folder = OUT / "rows"
    return [row for row in rows.read(folder / "train.jsonl") if not rows.images(row, folder)]


def reply_of(row: dict) -> str:
    """The text of a row's last turn."""
    return rows.text_of(row["messages"][-1])


def write_lines(name: str, content: list[dict]) -> None:
    """One object a line into the bench's folder."""
    text = "".join(json.dumps(one) + "\n" for one in content)
    (OUT / "rows" / name).write_text(text, encoding="utf-8")


def as_trl(pair: dict) -> dict:
    """A pair as TRL's conversational preference format has it."""
    turns = [
        {"role": message["role"], "content": rows.text_of(message)} for message in pair["messages"]
    ]
    worse = rows.text_of(pair["rejected"])
    return {
        "prompt": turns[:-1],
        "chosen": turns[-1:],
        "rejected": [{"role": "assistant", "content": worse}],
    }


def trl_trainer(recipe: dict, gpu: bool, steps: int, at_once: int, random: Callable):
    """TRL's DPOTrainer with a recipe's adapter, precision and optimizer, `at_once` pairs a
    micro-batch, on the bench's pairs; on a GPU with Liger's loss, recomputation, and the model
    that `random` makes there.
    """
    import torch
    from peft import LoraConfig
    from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig
    from transformers import LlavaForConditionalGeneration as Llava
    from trl import DPOConfig, DPOTrainer

    from datasets import load_dataset

    folder = recipe["base_model"]
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if gpu else torch.float32,
        llm_int8_skip_modules=recipe["bnb_config_kwargs"]["llm_int8_skip_modules"],
    )
    if gpu:
        kwargs = {"quantization_config": quantization}
        config = AutoConfig.from_pretrained(folder)
        model = random(SimpleNamespace(model_config=config, model_kwargs=kwargs))
    else:
        model = Llava.from_pretrained(folder, quantization_config=quantization)
    adapter = LoraConfig(
        r=recipe["lora_r"],
        lora_alpha=recipe["lora_alpha"],
        target_modules=recipe["lora_target_modules"],
    )
    settings = DPOConfig(
        output_dir=str(OUT / "run"),
        max_steps=steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=recipe["gradient_accumulation_steps"],
        gradient_checkpointing=gpu,
        bf16=gpu,
        use_cpu=not gpu,
        use_liger_kernel=gpu,
        optim=recipe["optimizer"],
        learning_rate=recipe["learning_rate"],
        beta=0.1,
        max_length=SEQUENCE_LEN,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
    )
    return DPOTrainer(
        model=model,
        args=settings,
        train_dataset=load_dataset("json", data_files=str(TRL), split="train"),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=adapter,
    )
