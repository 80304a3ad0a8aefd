"""cit_schedule: chooses a builder for each waiting job (main) and carries documents to it (deliver) (docs/stages)."""
