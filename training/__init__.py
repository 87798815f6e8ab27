"""What Axolotl leaves open: the loss mask, packing, checks, the merge and its proof."""
