"""Inputs for models: datasets, images, shapes, and seeded arrays where there is nothing else."""
