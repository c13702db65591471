"""What decides: on every prompt's way, from its embedding to a model. Needs none of the others."""
