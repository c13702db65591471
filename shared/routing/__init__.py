"""The arithmetic of routing, as pure functions over arrays: it could run on a plane.

What may not live here: input and output, clocks, randomness without a seed, messages, frameworks.
"""
