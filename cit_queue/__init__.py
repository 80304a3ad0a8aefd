"""cit_queue: keeps jobs in spools: accepts what is signed, refuses the rest with a reason (docs/stages)."""
