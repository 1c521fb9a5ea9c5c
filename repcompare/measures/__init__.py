"""What is compared?  Arrays in, floats out; labels never enter here."""
