"""cit_report: reads cit documents and shows them as tables, TSV, JSON and pages (docs/stages)."""
