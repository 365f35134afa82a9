"""Images, grids and cohorts, read from files and written to them."""
