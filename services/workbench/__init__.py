"""The work behind the command line that is more than wiring: studies, evaluation, tables,
erasure."""
