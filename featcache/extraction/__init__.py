"""The pass of a frozen backbone over the rows that a space lacks."""
