"""What connects the console to the outside: with app.py, all that touches adapters."""
