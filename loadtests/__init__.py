"""Load tests over HTTP: users, what they send, and the thresholds that decide. Nothing here knows the server's code."""
