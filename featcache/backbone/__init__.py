"""Frozen backbones: what a model folder is, loading it, tokens, batches, pooled hidden states."""
