"""What a run left behind: its schema, its folder, comparisons, and the ledger of test reads."""
