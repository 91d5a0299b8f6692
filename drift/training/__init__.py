"""SFT and DRIFT as one trainer."""
