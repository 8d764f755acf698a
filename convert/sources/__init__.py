"""What a model is: where it is read from, what it holds, and its content as a digest."""
