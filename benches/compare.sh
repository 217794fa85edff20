#!/usr/bin/env bash
# vfetch beside curl, aria2, wget2, rclone and "lim" (plain threads; benches/lim.rs), in alternating runs on one machine.
#
#   benches/compare.sh [-c "b c d a"] [-n ROUNDS] [-r ROUND_TRIP_MS] [-w "PROGRAM ..."] [-d DIR] [-p PORT] [-o TABLE]
#
# Builds the corpora under DIR (default: a folder in /dev/shm), serves them and the API's answers with nginx on
# loopback, runs every program ROUNDS times in turn (release build, 16 at once, one job a file), checks every digest,
# and prints medians and ratios. Needs nginx, openssl, curl and GNU time; programs that are not installed are left out.
#
# With -r the server is so far away (benches/delay.rs): the others then get 64 at once, which is what suits them best
# there, and vfetch is told nothing. With -w only these programs run.
set -euo pipefail
cd "$(dirname "$0")/.."

corpora="b c d a" rounds=3 round_trip=0 programs="" dir=/dev/shm/vfetch-compare port=18080 table=/dev/null
while getopts "c:n:r:w:d:p:o:" option; do
  case $option in
    c) corpora=$OPTARG ;;
    n) rounds=$OPTARG ;;
    r) round_trip=$OPTARG ;;
    w) programs=$OPTARG ;;
    d) dir=$OPTARG ;;
    p) port=$OPTARG ;;
    o) table=$OPTARG ;;
    *) exit 2 ;;
  esac
done

# name, files, bytes each
corpus() {
  case $1 in
    a) echo "1 2147483648" ;;
    b) echo "64 33554432" ;;
    c) echo "5000 204800" ;;
    d) echo "20000 4096" ;;
    *) echo "unknown corpus $1" >&2; exit 2 ;;
  esac
}

# The first of the programs is the one that the others are compared with.
if [ "$round_trip" = 0 ]; then
  at_once=16 nginx_port=$port
  : "${programs:=vfetch lim lim_ask lim_archive vfetch_nosync vfetch_default curl_openssl curl_sha256sum curl aria2 wget2 rclone}"
else
  at_once=64 nginx_port=$((port + 1))
  : "${programs:=vfetch_default curl aria2 wget2 rclone}"
fi
api="http://127.0.0.1:$port"
export MODELSLAB_API_KEY=bench MODELSLAB_BASE_URL=$api
# The benches are built under names of cargo's own making.
built() { cargo build --release --quiet --bench "$1" --message-format=json | sed -n 's/.*"executable":"\([^"]*'"$1"'-[^"]*\)".*/\1/p' | tail -1; }
cargo build --release --quiet --bin vfetch
lim=$(built lim) delay=$(built delay) vfetch=$PWD/target/release/vfetch
mkdir -p "$dir/site/api/v1/enterprise/video/fetch"

# Random bytes of no known kind: nothing in them helps or hinders anybody.
build() {
  local name=$1 files=$2 bytes=$3
  [ -f "$dir/$name.sums" ] && return 0
  mkdir -p "$dir/site/$name"
  : >"$dir/$name.ids"; : >"$dir/$name.urls"; : >"$dir/$name.curl"
  if [ "$files" -le 64 ]; then
    for ((i = 0; i < files; i++)); do
      openssl enc -aes-128-ctr -pass "pass:$name$i" -nosalt -in /dev/zero 2>/dev/null | head -c "$bytes" >"$dir/site/$name/$i.bin" || true
    done
  else
    openssl enc -aes-128-ctr -pass "pass:$name" -nosalt -in /dev/zero 2>/dev/null | head -c $((files * bytes)) |
      (cd "$dir/site/$name" && split -b "$bytes" -a 5 --numeric-suffixes=0 - "" && for f in [0-9]*; do mv "$f" "$((10#$f)).bin"; done) || true
  fi
  for ((i = 0; i < files; i++)); do
    echo "$name$i"; done >"$dir/$name.ids"
  for ((i = 0; i < files; i++)); do
    printf '{"status":"success","output":["%s/%s/%s.bin"]}' "$api" "$name" "$i" >"$dir/site/api/v1/enterprise/video/fetch/$name$i"
    echo "$api/$name/$i.bin"; done >"$dir/$name.urls"
  awk -F/ '{print "url = \"" $0 "\"\noutput = \"" $NF "\""}' "$dir/$name.urls" >"$dir/$name.curl"
  (cd "$dir/site/$name" && find . -name '*.bin' -print0 | xargs -0 -n 200 openssl dgst -sha256 -r | cut -c1-64 | sort) >"$dir/$name.sums"
}

far=
serve() {
  cat >"$dir/nginx.conf" <<EOF
worker_processes 2; daemon on; pid $dir/nginx.pid; error_log $dir/error.log;
events { worker_connections 2048; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; client_body_temp_path $dir/tmp;
  server { listen 127.0.0.1:$nginx_port backlog=2048; root $dir/site; error_page 405 =200 \$uri; } }
EOF
  nginx -c "$dir/nginx.conf" -e "$dir/error.log"
  trap 'kill "$(cat "$dir/nginx.pid")" $far 2>/dev/null || true' EXIT
  if [ "$round_trip" != 0 ]; then
    "$delay" "127.0.0.1:$port" "127.0.0.1:$nginx_port" "$round_trip" &
    far=$!
    until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
  fi
}

# Each program leaves its files in $out and, where it hashes, its digests in $out.digests.
run_lim() { "$lim" "$at_once" "$dir/$1.urls" "$out" >"$out.digests"; }
# The same, told of jobs: one question to the API for each.
run_lim_ask() { "$lim" "$at_once" "$dir/$1.urls" "$out" "$dir/$1.ids" "$api" ask >"$out.digests"; }
# All that an archive takes, with none of what makes it safe to use: see benches/lim.rs.
run_lim_archive() { "$lim" "$at_once" "$dir/$1.urls" "$out" "$dir/$1.ids" "$api" >"$out.digests"; }
run_vfetch() { "$vfetch" get -q -j "$at_once" -x "$at_once" -i "$dir/$1.ids" -o "$out" >"$out.digests"; }
run_vfetch_nosync() { "$vfetch" get -q --no-sync -j "$at_once" -x "$at_once" -i "$dir/$1.ids" -o "$out" >"$out.digests"; }
run_vfetch_default() { "$vfetch" get -q -i "$dir/$1.ids" -o "$out" >"$out.digests"; }
run_curl() { (cd "$out" && curl -sS --parallel --parallel-immediate --parallel-max "$at_once" -K "$dir/$1.curl" 2>/dev/null); }
# On two processes, each writing lists of its own: two writers of one pipe tear each other's lines.
hash_with() {
  (cd "$out" && find . -type f -print0 | xargs -0 -n 64 -P 2 sh -c 'list=$1; shift; tool=$1; shift
    case $tool in openssl) exec openssl dgst -sha256 -r "$@" >"$list.$$" ;; *) exec "$tool" "$@" >"$list.$$" ;; esac' - "$out.list" "$1")
  cat "$out".list.* >"$out.digests"; rm -f "$out".list.*
}
run_curl_openssl() { run_curl "$1"; hash_with openssl; }
run_curl_sha256sum() { run_curl "$1"; hash_with sha256sum; }
run_aria2() { aria2c -q -j"$at_once" -x1 -s1 --file-allocation=none -d "$out" -i "$dir/$1.urls"; }
run_wget2() { wget2 -q --max-threads="$at_once" -P "$out" -i "$dir/$1.urls"; }
run_rclone() { rclone copy -q --no-traverse --http-no-head --transfers "$at_once" --checkers "$at_once" --multi-thread-streams 0 ":http:" "$out" --http-url "$api/$1" --files-from-raw <(awk -F/ '{print $NF}' "$dir/$1.urls"); }

have() {
  case $1 in
    curl*) command -v curl >/dev/null ;;
    aria2) command -v aria2c >/dev/null ;;
    wget2 | rclone) command -v "$1" >/dev/null ;;
    *) true ;;
  esac
}

check() {
  if [ -s "$out.digests" ]; then
    cut -c1-64 "$out.digests" | sort | cmp -s - "$dir/$1.sums" || { echo "$2 brought wrong bytes of corpus $1" >&2; exit 1; }
  else
    local count; count=$(find "$out" -type f | wc -l)
    [ "$count" = "$(wc -l <"$dir/$1.sums")" ] || { echo "$2 brought $count files of corpus $1" >&2; exit 1; }
  fi
}

median() { sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

measure() {
  local name=$1 round program
  for ((round = 0; round < rounds; round++)); do
    for program in ${programs}; do
      have "$program" || continue
      out="$dir/out"; rm -rf "$out" "$out.digests"; mkdir -p "$out"
      sync
      export -f run_curl hash_with "run_$program"; export out dir lim vfetch api at_once
      /usr/bin/time -f '%e %U %S %M' -o "$dir/time" bash -c "set -e; run_$program $name"
      check "$name" "$program"
      cat "$dir/time" >>"$dir/$name.$program.times"
      rm -rf "$out"
    done
  done
  for program in ${programs}; do
    [ -f "$dir/$name.$program.times" ] || continue
    local wall cpu rss base
    wall=$(awk '{print $1}' "$dir/$name.$program.times" | median)
    cpu=$(awk '{print $2 + $3}' "$dir/$name.$program.times" | median)
    rss=$(awk '{print $4 / 1024}' "$dir/$name.$program.times" | median)
    base=$(awk '{print $1}' "$dir/$name.${programs%% *}.times" | median)
    awk -v n="$name" -v p="$program" -v w="$wall" -v c="$cpu" -v r="$rss" -v b="$base" \
      'BEGIN {printf "| %s | %s | %.2f | %.2f | %.0f | %.2f |\n", n, p, w, c, r, b / w}'
  done
}

for name in $corpora; do
  read -r files bytes <<<"$(corpus "$name")"
  build "$name" "$files" "$bytes"
  rm -f "$dir/$name."*.times
done
serve
{
  echo "| corpus | program | wall s | CPU s | RSS MiB | vfetch / this |"
  echo "| --- | --- | --- | --- | --- | --- |"
  for name in $corpora; do measure "$name"; done
} | tee "$table"
