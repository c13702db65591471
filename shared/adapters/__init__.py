"""The only modules that touch the outside: a broker, a cache, a model, a clock, a file of weights.

What may not live here: decisions about routing. A foreign library's errors stop here and go on as
ours.
"""
