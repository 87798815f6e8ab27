"""Which decoder layers keep what their backward pass reads, and which compute it a second time."""

from torch import nn
from transformers import TrainerCallback
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer


def keep_activations(model: nn.Module, count: int) -> None:
    """Let the last `count` decoder layers of a model that recomputes keep their activations.

    The last ones: on the way back their memory is free again before another layer is recomputed.
    """
    layers = [module for module in model.modules() if isinstance(module, MistralDecoderLayer)]
    for number, layer in enumerate(layers):
        layer.gradient_checkpointing = number < len(layers) - count


class KeepActivations(TrainerCallback):
    """Does so once the Trainer has switched recomputation on for all layers."""

    def __init__(self, count: int):
        self.count = count

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        if args.gradient_checkpointing and self.count:
            keep_activations(model, self.count)
