"""What every training shares: data, augmentation, schedules, the loop and its checkpoints."""
