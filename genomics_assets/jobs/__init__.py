"""Jobs: one state machine behind the ledgers of verbal autopsy, dose-response and association jobs."""
