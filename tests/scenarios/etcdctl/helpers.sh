# What the transcripts' commands may use beside etcdctl; every shell of theirs reads it.

# lines N COMMAND: run it until it has printed N lines, or has ended; then end it, and show these N lines.
lines() {
  local count=$1 out pid
  shift
  out=$(mktemp out.XXXXXX)
  "$@" <&0 >"$out" &
  pid=$!
  while [ "$(wc -l <"$out")" -lt "$count" ] && kill -0 $pid 2>/dev/null; do sleep 0.02; done
  kill $pid 2>/dev/null
  wait $pid 2>/dev/null
  head -n "$count" "$out"
}

# typed TEXT COMMAND: give it TEXT, and then nothing more; its input does not end.
typed() {
  local text=$1
  shift
  "$@" < <(printf "$text"; exec sleep 60 2>/dev/null)
}

# watchers N: wait until the server has N watchers.
watchers() {
  until curl -s "http://$ETCDCTL_ENDPOINTS/metrics" | grep -q "^etcd_debugging_mvcc_watcher_total $1\(\.0\)\?\$"; do
    sleep 0.02
  done
}

# restored_keys DIRECTORY: what a real etcd finds in a restored data directory.
restored_keys() {
  local client="http://127.0.0.1:$FREE_PORT_1" peer="http://127.0.0.1:$FREE_PORT_2" pid
  etcd --name=default --data-dir="$1" --listen-client-urls=$client --advertise-client-urls=$client \
    --listen-peer-urls=$peer >etcd.log 2>&1 &
  pid=$!
  until ETCDCTL_ENDPOINTS=$client etcdctl get x >/dev/null 2>&1; do sleep 0.1; done
  ETCDCTL_ENDPOINTS=$client etcdctl get k --prefix
  ETCDCTL_ENDPOINTS=$client etcdctl endpoint hashkv | cut -d, -f2
  kill $pid
  wait $pid 2>/dev/null || true
}
