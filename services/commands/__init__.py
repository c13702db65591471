"""The command line `pointsman`: one module a command. What may not live here: routing, and the
services' work."""
