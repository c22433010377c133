"""Experiments on the cache, and what they say about a head."""
