"""The feature cache: immutable, checksummed HDF5 files in folders named by contract. No torch."""
