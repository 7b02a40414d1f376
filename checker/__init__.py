"""The trusted checker: network bytes + property bytes + certificate -> accepted, or rejected with where and why.

Standard library only.  It takes neither box nor property nor weights nor tolerance from the certificate.
The format and every rule are written down in docs/certificate.md, from which a second checker can be built.
"""
