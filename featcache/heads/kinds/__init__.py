"""The kinds of head, one file each."""
