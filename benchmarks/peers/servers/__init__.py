"""Servers that a user writes himself; each runs in its own environment and imports nothing of Vernier."""
