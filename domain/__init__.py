"""What may happen: events, decisions, rules, permissions, ids. Pure: no I/O, no clock, no randomness."""
