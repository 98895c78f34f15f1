"""The function behind the API: HTTP request -> endpoint call -> JSON."""
