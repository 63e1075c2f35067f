"""Who may ask, from where, how often, and what a request may point to."""
