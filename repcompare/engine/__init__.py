"""What is done, in what order?  A study is declared, planned and run."""
