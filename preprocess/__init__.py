"""Sources → rows → gates → mix → a built dataset. Never imports torch or axolotl.

    python -m preprocess tiny                       builds datasets/tiny/build from datasets/tiny/mix.yaml
    python -m preprocess aether --hub-dir FOLDER    the same for aether, with the public sets of a folder instead of the hub's
"""
