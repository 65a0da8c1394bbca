"""What the plots are made of: `_panel` and `_page` draw, and alone import matplotlib."""
