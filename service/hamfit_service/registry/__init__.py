"""Published models: names with versions that never change."""
