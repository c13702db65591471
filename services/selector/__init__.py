"""Hears assignments, says decisions: the best model of the assigned clusters for this request's
preferences and constraints.

Leaves calling that model to the dispatcher. Decides with the very table that the assignment was
made with.
"""
