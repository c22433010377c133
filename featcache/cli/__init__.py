"""The command line; commands import what is heavy inside their bodies, to keep `--help` instant."""

from featcache.cli.main import main

__all__ = ["main"]
