"""cit_run: runs a job as the user and records it (main), says what goes home (sync) (docs/stages)."""
