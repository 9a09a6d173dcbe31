"""The claims ledger: every number that the papers print, with what becomes of it here."""
