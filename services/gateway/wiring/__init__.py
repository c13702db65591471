"""What connects the gateway's work to the outside: with app.py, all that touches adapters."""
