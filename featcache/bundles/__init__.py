"""A head on the disk with all that is needed to use it."""
