"""OpenAI's Responses API, and the inner form: requests, answers and streams.

Written from OpenAI's Python package 3.57 (November 2026). Pure.
"""
