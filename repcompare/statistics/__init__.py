"""What can be believed?  Folds, ceilings, jackknife and permutation, on arrays."""
