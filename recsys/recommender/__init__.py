"""From a request to an explained answer."""
