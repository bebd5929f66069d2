"""Certificates, keys and kubeconfigs: made at the first start, loaded afterwards.

A small cluster's own CA, not a PKI product: people who bring certificates name them by kube-apiserver's flags.
"""
