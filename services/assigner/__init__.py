"""Hears embeddings, says assignments: the nearest clusters of the current routing table, with
weights.

Leaves the choice of a model to the selector. Refuses an embedding from another encoder than the
table's.
"""
