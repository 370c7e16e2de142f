#!/usr/bin/env bash
# Whether a request, kept by hand, was signed by the engine: openssl and no other program.
#
#     SECRET=whsec_... ./verify.sh WEBHOOK_ID WEBHOOK_TIMESTAMP WEBHOOK_SIGNATURE <body
#
# The body is the bytes as they came. Look at the time yourself: an old request may be a repeated one.
set -euo pipefail
id=$1 timestamp=$2 signatures=$3
key=$(printf %s "${SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
ours=v1,$({ printf '%s.%s.' "$id" "$timestamp"; cat; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
for one in $signatures; do
  [ "$one" = "$ours" ] && echo "genuine" && exit 0
done
echo "not signed with this secret" >&2
exit 1
