#!/bin/sh
# Protects main, so that no pull request merges while a check is red: .github/protect-main.sh OWNER/REPOSITORY
# Needs GitHub's `gh`, signed in as an administrator of the repository. It replaces the rules that are there.
set -eu
repository=${1:?"usage: $0 OWNER/REPOSITORY"}
gh api --method PUT "repos/$repository/branches/main/protection" --input - <<'RULES'
{
  "required_status_checks": {"strict": true, "contexts": ["lint", "test", "images"]},
  "enforce_admins": true,
  "required_pull_request_reviews": {"required_approving_review_count": 1, "dismiss_stale_reviews": true},
  "required_conversation_resolution": true,
  "required_linear_history": true,
  "allow_force_pushes": false,
  "allow_deletions": false,
  "restrictions": null
}
RULES
