"""The vision tower's calls: a few images at a time, and without gradient where nothing in it is
trained.
"""

import torch
from transformers.models.llava.modeling_llava import LlavaModel

PATCHES_A_CALL = (
    4096  # one image of 1024x1024 pixels: Llava keeps every layer's hidden states of a call
)

stock_image_features = LlavaModel.get_image_features


def groups_of(patches: list[int], limit: int) -> list[list[int]]:
    """Numbers of images in runs of at most `limit` patches; a larger image is a run of its own."""
    groups: list[list[int]] = []
    load = 0
    for number, count in enumerate(patches):
        if not groups or load + count > limit:
            groups.append([])
            load = 0
        groups[-1].append(number)
        load += count
    return groups


def get_image_features(self, pixel_values, image_sizes=None, **kwargs):
    """`LlavaModel.get_image_features`, PATCHES_A_CALL patches at a time.

    pixel_values (images, 3, height, width) padded to the largest, image_sizes (images, 2) in
    pixels; the output's `pooler_output` lists one tensor of shape (patches, width) for each image.
    A frozen tower runs once, without gradient: it is outside every block that is recomputed.
    """
    parts = (self.vision_tower, self.multi_modal_projector)
    trained = any(weight.requires_grad for part in parts for weight in part.parameters())
    patch = self.vision_tower.patch_size
    patches = [(int(height) // patch) * (int(width) // patch) for height, width in image_sizes]
    features: list[torch.Tensor] = []
    with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
        for group in groups_of(patches, PATCHES_A_CALL):
            sizes = image_sizes[group]
            height, width = sizes.max(dim=0).values.tolist()
            pixels = pixel_values[group][..., :height, :width]
            output = stock_image_features(self, pixel_values=pixels, image_sizes=sizes, **kwargs)
            features += output.pooler_output
    output.pooler_output = features
    return output
