"""KubeSchedulerConfiguration, `kubescheduler.config.k8s.io/v1`: which plugins run, in which order and with which
arguments (https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/).

    file ──load──▶ checked against `structure` ──defaults──▶ complete ──validation──▶ valid ──profiles──▶ Profile

A configuration stays what it is on paper, a dict in v1 form; it is no tree of classes of our own.

    structure       the fields, as Go's types: what is unknown is an error
    defaults        what a field is when it is left out;  plugin_sets: default plugins, merged with what is given
    validation      what may not be;  validation_args: of plugins' arguments
    profiles        from plugin sets to the plugins that run at each extension point
    settings        the few numbers that are no plugin's
"""
