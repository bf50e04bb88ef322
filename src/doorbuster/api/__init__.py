"""HTTP: a table of routes, handlers that know no server, and two lanes that carry requests to them."""
