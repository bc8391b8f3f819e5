"""What the commands are made of: the run's folder and position, the training loop, and what is shown and written."""
