"""What is fast?  numba and numpy only; only what BLAS cannot do.  Kernels are serial, lazily compiled and cached."""
