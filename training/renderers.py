"""The renderer of a model's folder, or of Pixtral's own vocabulary where no model is at hand."""

from pathlib import Path

from common.errors import AetherError, one_line
from common.files import ROOT, shown
from training.render import Renderer


def renderer_for(processor) -> Renderer:
    """A renderer with a Pixtral processor's tokenizer and image geometry."""
    longest_edge = processor.image_processor.size["longest_edge"]
    return Renderer(processor.tokenizer, longest_edge, processor.patch_size)


def renderer_of(folder: Path | None) -> Renderer:
    """The renderer of the model in `folder`; Pixtral's vocabulary under our copy of the template
    where there is none.

    Raises AetherError for files that cannot be read, or a tokenizer that cannot be exact.
    """
    if folder is None:
        return Renderer(pixtral_tokenizer())
    from transformers import AutoProcessor

    try:
        return renderer_for(AutoProcessor.from_pretrained(folder))
    except AetherError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        text = one_line(error)
        raise AetherError(f"{shown(folder)}: no Pixtral processor and tokenizer ({text})") from None


def pixtral_tokenizer():
    """Pixtral's vocabulary, carried by mistral-common, as a fast tokenizer with our copy of
    Apriel's chat template.
    """
    import mistral_common
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    vocabulary = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    template = (ROOT / "common" / "chat_template.jinja").read_text(encoding="utf-8")
    return convert_tekken_tokenizer(str(vocabulary), chat_template=template)
