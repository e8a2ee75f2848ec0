"""Learning to see without labels: contrastive, masked and pretext tasks."""
