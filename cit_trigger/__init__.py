"""cit_trigger: a wish or an event becomes a signed job (docs/stages)."""
