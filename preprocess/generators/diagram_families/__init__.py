"""One module a family of diagrams: how its spec is invented, what follows from it, and how it is
laid out.

Times in ms, rates in messages or requests a second, shares in %. See drawn for the three functions
of a family.
"""
