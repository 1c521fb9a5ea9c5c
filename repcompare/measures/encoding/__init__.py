"""Encoding models: how well one system predicts another on stimuli that were not fitted."""
