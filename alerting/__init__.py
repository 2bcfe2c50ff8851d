"""Alerting: event → outbox → route → render → deliver → confirm. Knows nothing of the engine."""
