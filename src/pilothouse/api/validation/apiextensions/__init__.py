"""Validation of CustomResourceDefinitions (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation).

    definition     the whole object: start here
    internal       v1 spec → the internal form, which error paths speak of
    spec           group, scope, names, what all versions have alike
    versions       one version; what storedVersions may say
    schema         a version's openAPIV3Schema, node by node
      structural     types everywhere, conditions that only restrict
      defaults       defaults that fit their schema
      lists          sets, maps and their keys
      rules          x-kubernetes-validations: form, compilation, cost (cel_context)
    columns, subresources, selectable_fields, conversion, approval, names
    options        what an update need not fulfil
    formats        warnings

Not here: validation of custom resources (`api.structural`).
"""
