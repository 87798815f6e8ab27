"""The ground floor: the chat format, the row contract and the facts of the base model. Standard library only."""
