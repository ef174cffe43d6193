"""What "good" means: metrics in numpy alone, and their measurement on a bundle as it is served. No torch."""
