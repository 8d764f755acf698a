"""Which boards there are: the inventory and their pinned host keys."""
