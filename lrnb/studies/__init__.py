"""The studies behind the chapters: models, attacks and metrics made into tidy tables."""
