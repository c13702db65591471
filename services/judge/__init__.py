"""Hears completions, says evaluations: compares the answers of two models to one prompt, in six
votes, three in each order.

Samples what teaches most and stays within a daily budget. Which model is best where is worked out
by the re-clusterer.
"""
