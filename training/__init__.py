"""What Axolotl leaves open: the loss mask, packing, the tiny base, the checks, the merge and its proof, run provenance."""
