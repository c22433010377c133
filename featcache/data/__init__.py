"""Texts and labels: reading files, rendering templates, naming rows by content, splitting. No torch
here.
"""
