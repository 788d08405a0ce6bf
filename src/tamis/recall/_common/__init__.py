"""Parts that several recall channels share."""
