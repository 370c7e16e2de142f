#!/usr/bin/env bash
# Webhooks by curl: makes one, tries it, shows what was sent, and sends it again.
#
#     API=http://127.0.0.1:8080 TOKEN=... ./webhooks.sh https://hooks.example.com/orders
#
# TOKEN needs the scope `operate`. The secret is printed once: keep it.
set -euo pipefail
url=${1:?the URL of a receiver}

call() { # METHOD PATH [BODY]
  curl -sS --fail-with-body -X "$1" "$API$2" -H "Authorization: Bearer $TOKEN" \
    ${3:+-H 'Content-Type: application/json' -d "$3"}
}
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }

made=$(call POST /webhooks "{\"url\": \"$url\", \"description\": \"made by curl\"}")
webhook=$(sed 's/{"id":"\([^"]*\)".*/\1/' <<<"$made")
echo "webhook $webhook"
echo "secret $(field secret <<<"$made")"

call POST "/webhooks/$webhook/test" >/dev/null   # an event `webhook.test`, as soon as somebody listens
echo "deliveries $(call GET "/webhook-deliveries?webhook=$webhook")"

# What was missed, or is wanted once more: everything between two offsets, at most 10 000 events.
# call POST "/webhooks/$webhook/replay" '{"from_offset": 1, "to_offset": 9000}'
# A new secret, for example every year; both sign for 48 hours:
# call POST "/webhooks/$webhook/rotate-secret"
