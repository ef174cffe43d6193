"""Data: where pairs of pictures and texts come from, and how they become batches."""
