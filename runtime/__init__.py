"""What a bundle is and how it runs: manifest, preprocessing, engines, encoder. Knows nothing of training or HTTP."""
