"""The command line. Commands import what is heavy inside their bodies, so that `--help` is instant."""

from featcache.cli.main import main

__all__ = ["main"]
