"""Hears prompts, says descriptions: a language model distils each prompt into one short task
description.

Leaves embedding to the embedder. It is the door: what is wrong with a producer's message is found
here.
"""
