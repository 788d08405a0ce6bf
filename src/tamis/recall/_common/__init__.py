"""Code that several families of recall channels share."""
