"""The command line `fenghuo`: one file a group of commands."""
