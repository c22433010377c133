"""The feature cache: immutable, checksummed HDF5 shards in folders named by contract. No torch here."""
