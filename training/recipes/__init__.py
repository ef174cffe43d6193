"""Recipes: functions that return a complete `TrainConfig`, one file per family."""
