"""Running it all on one machine: a supervisor of processes, and the servers that they need."""
