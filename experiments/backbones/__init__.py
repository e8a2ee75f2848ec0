"""Networks trained with labels."""
