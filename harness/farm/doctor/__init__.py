"""What is wrong with a board's setup, why that matters, and the commands that mend it."""
