"""The REST API under /api/v1: one module a noun; a route parses, calls the domain in one transaction, shapes the answer."""
