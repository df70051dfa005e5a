"""What each table contains: data contracts and what is derived from them."""
