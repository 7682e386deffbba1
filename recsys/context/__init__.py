"""What is known of the moment: time, place, a wish; personal data is masked here."""
