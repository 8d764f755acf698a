"""CUDA's runtime behind one small interface, whichever package serves it."""
