"""Feeds of other authorities: read what they publish, and draft from it."""
