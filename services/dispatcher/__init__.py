"""Hears decisions, says completions: calls the selected model, and the next in line when it fails.

A decision that asks for no answer passes. What an answer cost and how long it took is recorded;
whether it was any good is left to the judge and to people.
"""
