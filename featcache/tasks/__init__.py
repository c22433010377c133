"""What a head predicts, and how predictions are scored."""
