"""The commands of `bench`, one file each: the only place that prints, reads argv and sets exit codes."""
