"""Where the work is done: child processes, their limits, and pinned environments."""
