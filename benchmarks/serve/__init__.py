"""What `bench_serve` runs beside the service: a load generator, and a straightforward service."""
