"""What happens without being asked: look for evidence, expire, tidy up, try deliveries again."""
