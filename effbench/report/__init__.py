"""Reports: tables, figures and pages, each derived from records."""
