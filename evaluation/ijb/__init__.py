"""IJB-B and IJB-C: sets of images (templates) compared 1:1 and searched 1:N."""
