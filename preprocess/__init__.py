"""Sources → rows → gates → mix → a built dataset. Never imports torch or axolotl.

python -m preprocess tiny        builds datasets/tiny/build from datasets/tiny/mix.yaml
"""
