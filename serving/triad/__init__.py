"""The members of a Triad behind one address: LiteLLM's proxy, and the hand-over between them."""
