"""The rules that values keep, whoever wrote them: manifests, API bodies, records edited by hand."""
