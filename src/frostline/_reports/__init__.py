"""What a report is made of: `_data` what the page knows, `_page` the page around it."""
