"""Training: the model, the objectives, the data, the recipes and the loop.

Only this package and `export` see torch.
Read `train.py` (the entry), then `trainer.py` (one step on one screen), then one file of `objectives/`.
"""
