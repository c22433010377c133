"""Candidates, successive halving, the choice, and the last steps for the head that was chosen."""
