"""What triggers work: file drops and schedules."""
