"""What a kind of board, a measurement and a model are: TOML files and their typed loaders."""
