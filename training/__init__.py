"""Training a recipe through Axolotl, and what Axolotl leaves open. Where to read:

run               the parent: resolve, check, lock, record, start, pass signals on, end in one line
worker            one rank: hands the recipe to Axolotl and keeps run.json true to how it ends
recipe_schema     the keys a recipe may have; check_recipe says what is wrong with its text
check             everything that can be known before a training: check_base, check_data, memory
plugin, trainer   what takes the place of Axolotl's own rows, loss, evaluation and checkpoints
render, index     from a row to tokens and labels; data: from rows to bins and batches
model             what changes inside the model: attention, loss, vision, lora, recompute
checkpoints       sealed, verified; mirror: a second place for them
merge             the adapter into its base, with its proofs: adapter, weights, verify_merge,
                  same_logits
bench, compare    speed against stock Axolotl; what differs between runs
tiny_base, pins   the tiny model with random weights; revisions of the hub
"""
