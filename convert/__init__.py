"""From a model file to what each runtime can load, every step verified."""
