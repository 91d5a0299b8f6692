"""Tables, plots and pages from the run folders on disk."""
