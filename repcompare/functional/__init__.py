"""The direct door: one measure between two representations, or between two arrays whose rows match."""
