"""Files, text, limits, progress, processes: everything that concerns the machine."""
