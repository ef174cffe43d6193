"""From bytes and strings to arrays: the only copy, shared by training and serving."""
