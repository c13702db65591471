"""One module a page: its view model, and the endpoints that draw it. No adapter."""
