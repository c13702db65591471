"""Tests don't time: the first call of a property may import scipy, and the machine may be busy."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
