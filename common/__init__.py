"""What every room speaks: errors, files, recipes, hub pins, rows, the chat format, facts of the
base, what an answer is.

Rooms import `common` and never each other. Nothing in here knows a dataset by name or imports
torch.
"""
