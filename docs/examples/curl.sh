#!/bin/sh
# SERVER=http://localhost:8888/ TOKEN=... sh curl.sh "Why is the sky blue?"    the events of the answer, as they come
# SERVER=http://localhost:8888/ TOKEN=... sh curl.sh --stop STREAM             stops it; `hello` says which stream it is
set -eu
case $1 in
  --stop) set -- --request POST "${SERVER}jupyter-sse/streams/$2/cancel" ;;
  *) set -- --no-buffer --get --data-urlencode "q=$1" "${SERVER}jupyter-sse/chat" ;;
esac
exec curl --silent --show-error --fail-with-body --header "Authorization: token $TOKEN" "$@"
