"""Light heads on cached features: what they are, training them, keeping them."""
