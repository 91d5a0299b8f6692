"""What a checkpoint is: found, checked, named by its content."""
