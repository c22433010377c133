"""Looking after a cache: verify, repair, merge, gc and export, each in its own file."""
