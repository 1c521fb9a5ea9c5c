"""What are things called?  xarray and numpy only; numerics never enter here."""
