"""What every room needs and none owns. Imports nothing of ours and nothing heavy."""
