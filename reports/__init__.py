"""Records, their statistics and verdicts, and the reports made of them."""
