"""What is seen?  Tables and pictures of scores; never the engine."""
