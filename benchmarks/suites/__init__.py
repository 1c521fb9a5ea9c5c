"""Benchmarks of single operations over the history of the project, in the layout of asv; smallest sizes first."""
