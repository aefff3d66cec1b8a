"""Arrays that are made on demand, box by box, from arrays that files hold."""
