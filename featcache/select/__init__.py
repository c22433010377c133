"""Searching heads, scoring them, and choosing one without fooling oneself."""
