"""The channels that carry a warning to people, and the worker that drives them."""
