"""The console: server-rendered pages, their fragments, and what they need from the rest."""
