"""The agent: one archive, Python 3.6 standard library, that runs timed inference on a board."""
