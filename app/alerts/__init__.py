"""Word of what happens to runs, to webhooks: conditions, messages, deliveries that survive restarts, no way to inner addresses."""
