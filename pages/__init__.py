"""Review pages: one self-contained HTML file each, made from plain figures."""
