"""Decoding: which labels of the stimuli can be read out of a system by a linear classifier, on rows it has not seen."""
