"""The command line's words: each command's arguments and help; the work is in services.commands."""
