"""What `bench convert` and `bench inspect` do: wanted, made, kept and told, for a model or a folder."""
