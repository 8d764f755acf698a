"""Whether an artifact is its source still: runs, comparisons, and where two graphs part."""
