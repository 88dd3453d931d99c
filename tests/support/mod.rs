//! Fixtures: gateway, client, scrape and server processes.
