"""Anthropic's Messages API, and the inner form: requests, answers and streams, both ways.

Written from Anthropic's reference and its Python package 2.14 (November 2026). Pure.
"""
