"""The HTTP face: JSON API, console pages, provider callbacks. Rules live in domain."""
