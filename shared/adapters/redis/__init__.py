"""Redis: a cache that may be wiped at any moment. Nobody else imports redis."""
