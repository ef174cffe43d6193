"""Scripts that measure, and their committed results."""
