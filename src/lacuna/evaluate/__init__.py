"""Stage evaluate: trained models are judged under simulated loss, compared and named."""
