"""What is asked, of whom, and what may be known when answering."""
