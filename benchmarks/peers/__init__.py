"""What a user would pick instead, measured beside Vernier: same weights, same requests, one server at a time."""
