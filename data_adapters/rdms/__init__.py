"""Files of dissimilarity matrices: MATLAB, and HDF5 as rsatoolbox writes it."""
