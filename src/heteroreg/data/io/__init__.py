"""Image and transform files, one module per format."""
