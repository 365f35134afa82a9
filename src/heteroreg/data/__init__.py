"""Images, grids, cohorts: what comes from files and goes back to them."""
