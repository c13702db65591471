"""Hears HTTP in the form of OpenAI's API, says prompts; hears replies, says completions,
evaluations (feedback) and spending.

Calls the selected model itself, so that its answer can be streamed. Describing, embedding,
assigning and selecting are left to the services of the hot path.
"""
