"""One module a source; each yields conversations."""
