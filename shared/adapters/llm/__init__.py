"""Language models behind OpenAI-compatible APIs. Nobody else imports httpx."""
