"""What comes with Pointsman: models with their prices, and 25 tasks with their prompts. Data and
its readers only."""
