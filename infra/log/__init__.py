"""The append-only log: mapper, recorder, group-commit writer, proofs."""
