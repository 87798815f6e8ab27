"""The keys a recipe may have: their types, their ranges, their order. What is not here this
repository does not honour.

One class a section, its fields in the order in which a recipe writes them. Values are strict:
"2048" is no number, 1 is no `true`. Axolotl itself accepts far more keys, drops the unknown ones in
silence, and ignores some of its own on a model of this kind.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PLUGIN = "training.plugin.AetherPlugin"

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Epochs = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(gt=0, le=0.1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Keys of no other name, values of no other type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Rows(Strict):
    """Where the rows are, and which of them."""

    path: Name  # folder of a built dataset: train.jsonl, val.jsonl, images/, manifest.json
    categories: Annotated[list[Name], Field(min_length=1)] | None = None  # all when absent


class Preference(Strict):
    """The loss on pairs of replies; its formulas stand in training.preference_loss."""

    loss: Literal["dpo", "orpo", "simpo"]
    beta: Positive  # of the margin; of ORPO the weight of the odds
    length_normalised: bool | None = None  # dpo: by the mean over a reply's tokens, not their sum
    margin: Annotated[float, Field(ge=0, le=1000)] | None = None  # simpo: what a pair must exceed
    sft: Annotated[float, Field(ge=0, le=1000)] | None = None  # weight of the chosen reply's own


class BnbConfig(Strict):
    llm_int8_skip_modules: list[
        Literal["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    ]


class CheckpointingConfig(Strict):
    use_reentrant: Literal[False]


class OptimizerConfig(Strict):
    """Of adamw_torch_8bit: weights without a float32 copy lose no update on the average."""

    bf16_stochastic_round: Literal[True]


class Model(Strict):
    base_model: Name
    revision_of_model: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    processor_type: Literal["AutoProcessor"]
    trust_remote_code: Literal[False] = False  # a model must not bring its own code
    plugins: list[Literal["training.plugin.AetherPlugin"]] = Field(min_length=1, max_length=1)


class Data(Strict):
    rows: Rows
    preference: Preference | None = None  # rows are pairs
    chat_template: Literal["tokenizer_default"]
    skip_prepare_dataset: Literal[True]
    sequence_len: Annotated[int, Field(ge=64, le=131_072)]  # tokens
    sample_packing: Literal[True]


class Adapter(Strict):
    """Plain LoRA and rsLoRA, on a base in NF4 or as it is: what the merge can prove."""

    adapter: Literal["qlora", "lora"] | None = None
    load_in_4bit: bool | None = None
    bnb_config_kwargs: BnbConfig | None = None
    fp8_base: Literal[True] | None = None  # frozen maps in FP8 for training (training.fp8)
    lora_r: Annotated[int, Field(ge=1, le=1024)] | None = None
    lora_alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    lora_dropout: Share | None = None
    lora_target_modules: Name | None = None
    peft_use_rslora: bool | None = None
    # Axolotl's kernels switch themselves on: two of them fail on a Llava, one costs time (LOG.md).
    lora_mlp_kernel: Literal[False] | None = None
    lora_qkv_kernel: Literal[False] | None = None
    lora_o_kernel: Literal[False] | None = None


class Optimisation(Strict):
    num_epochs: Epochs
    max_steps: Count | None = None
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)]
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)]
    optimizer: Literal[
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_torch_8bit",
        "adamw_8bit",
        "adamw_bnb_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
    ]
    optim_args: OptimizerConfig | None = None
    adam_beta1: Share | None = None
    adam_beta2: Share | None = None
    adam_epsilon: Annotated[float, Field(gt=0, le=0.01)] | None = None
    learning_rate: LearningRate
    lr_scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    cosine_min_lr_ratio: Share | None = None
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    warmup_ratio: Share | None = None
    weight_decay: Share
    max_grad_norm: Positive
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class Memory(Strict):
    bf16: bool
    tf32: bool
    attn_implementation: Literal["sdpa", "flash_attention_2"]  # those that keep a bin's rows apart
    shards: Annotated[int, Field(ge=2, le=64)] | None = None  # least number of GPUs that share all
    freeze_mm_modules: Literal[True] | None = None  # tower and projector stay as they are
    gradient_checkpointing: bool
    gradient_checkpointing_kwargs: CheckpointingConfig | None = None
    embeddings_skip_upcast: bool | None = None
    fused_kernels: bool | None = None  # Liger's RMSNorm, RoPE and SwiGLU; needs a GPU
    dataloader_num_workers: Annotated[int, Field(ge=0, le=64)]
    dataloader_prefetch_factor: Annotated[int, Field(ge=1, le=64)] | None = None
    dataloader_pin_memory: bool


class Evaluation(Strict):
    eval_steps: Count | None = None
    eval_strategy: Literal["epoch", "steps"] | None = None
    save_steps: Count | None = None
    save_strategy: Literal["epoch", "steps"] | None = None
    save_total_limit: Annotated[int, Field(ge=1, le=1000)]
    logging_steps: Count
    output_dir: Name


class Tracking(Strict):
    use_wandb: Literal[True]  # offline where there is no key
    wandb_project: Name
    wandb_name: Name


SECTIONS: dict[str, type[Strict]] = {
    "model": Model,
    "data": Data,
    "adapter": Adapter,
    "optimisation": Optimisation,
    "memory": Memory,
    "evaluation and checkpoints": Evaluation,
    "tracking": Tracking,
}
KEYS = [key for section in SECTIONS.values() for key in section.model_fields]


class RecipeKeys(Tracking, Evaluation, Memory, Optimisation, Adapter, Data, Model):
    """All the keys of a recipe."""


class AetherArgs(BaseModel):
    """The keys that our plugin adds to Axolotl's own."""

    rows: Rows
    preference: Preference | None = None
    fused_kernels: bool = False
    fp8_base: bool = False
    shards: int | None = None
