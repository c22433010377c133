"""The figures of the page: what is drawn of a run, with its numbers and a sentence beside it."""
