"""Every body that is sent to the server or by it, a file per subject."""
