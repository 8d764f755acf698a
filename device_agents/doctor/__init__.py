"""What a board is asked for before anybody measures on it."""
