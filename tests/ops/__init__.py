"""Tests of the program as it is operated: real processes that are killed, drained, locked out and starved of disk."""
