"""What users ask for, one file a verb."""
