"""What connects the describer to the outside: with app.py, all that touches adapters."""
