"""The rules of gdcore in plain NumPy: what the C kernels are specified by and tested against."""
