"""The schema on PostgreSQL, step by step: what `fenghuo migrate` runs. Steps that were released are never changed."""
