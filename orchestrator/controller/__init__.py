"""The leader's shell: campaign, mirror, plan, commit. It decides nothing that `planning` could."""
