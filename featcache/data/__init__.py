"""Texts and labels: read files, render templates, name rows by content, split. No torch here."""
