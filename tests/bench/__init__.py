"""Benchmarks: `python -m tests.bench [--json] [NAME...]`. Each is measured beside a ceiling, in the same run."""
