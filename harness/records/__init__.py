"""From what a board told to the record that is kept."""
