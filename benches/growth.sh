#!/usr/bin/env bash
# How the cost of a job grows with the number of jobs: wall time and CPU time per job, and peak memory.
#
#   benches/growth.sh [-s "1000 10000 100000"] [-n ROUNDS] [-d DIR] [-p PORT] [-o SVG]
#
# nginx on loopback answers for the API and for the media: each job is new, is done, and has one output of 4 KiB at a
# link of its own. Every size runs ROUNDS times, in turn, into an empty archive on tmpfs (release build, defaults); the
# medians are printed and drawn. What every run pays once is measured by a run of a single job, and left out of the cost
# of the others: it would make a short list's jobs look dear. Needs nginx, openssl and GNU time; 3 inodes and 12 KiB a job under DIR.
set -euo pipefail
cd "$(dirname "$0")/.."

sizes="1000 10000 100000" rounds=5 dir=/dev/shm port=18090 svg=benches/growth.svg
while getopts "s:n:d:p:o:" option; do
  case $option in
    s) sizes=$OPTARG ;;
    n) rounds=$OPTARG ;;
    d) dir=$OPTARG ;;
    p) port=$OPTARG ;;
    o) svg=$OPTARG ;;
    *) exit 2 ;;
  esac
done

api="http://127.0.0.1:$port"
export MODELSLAB_API_KEY=bench MODELSLAB_BASE_URL=$api
cargo build --release --quiet --bin vfetch
vfetch=$PWD/target/release/vfetch

serve() {
  openssl rand -out "$dir/clip.bin" 4096
  cat >"$dir/nginx.conf" <<NGINX
worker_processes 2; daemon on; pid $dir/nginx.pid; error_log $dir/error.log;
events { worker_connections 2048; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; client_body_temp_path $dir/tmp;
  server { listen 127.0.0.1:$port backlog=2048; root $dir;
    location ~ ^/api/v1/enterprise/video/fetch/(\d+)$ { return 200 '{"status":"success","output":["$api/clip/\$1.bin"]}'; }
    location /clip/ { rewrite ^ /clip.bin break; } } }
NGINX
  trap 'kill "$(cat "$dir/nginx.pid")" 2>/dev/null || true; rm -rf "$dir"' EXIT
  nginx -c "$dir/nginx.conf" -e "$dir/error.log"
}

# One run of so many jobs: wall, user and system seconds to the millisecond, and peak memory in KiB.
run() {
  local jobs=$1 TIMEFORMAT='%3R %3U %3S'
  rm -rf "$dir/out"
  { time /usr/bin/time -f '%M' -o "$dir/peak" "$vfetch" get -q -i "$dir/$jobs.ids" -o "$dir/out" >"$dir/results"; } 2>"$dir/time"
  [ "$(wc -l <"$dir/results")" = "$jobs" ] || { echo "a run of $jobs brought $(wc -l <"$dir/results")" >&2; exit 1; }
  paste -d' ' "$dir/time" "$dir/peak" >>"$dir/$jobs.times"
  rm -rf "$dir/out"
}

# The median of what an expression over a run's figures gives.
median() { awk "{print $2}" "$dir/$1.times" | sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# A line for each size: jobs, wall and CPU in microseconds a job beyond the first, peak memory in MiB.
medians() {
  local jobs
  for jobs in $sizes; do
    echo "$jobs $(median "$jobs" '$1') $(median "$jobs" '$2 + $3') $(median "$jobs" '$4 / 1024')" |
      awk -v wall="$(median 1 '$1')" -v cpu="$(median 1 '$2 + $3')" \
        '{print $1, ($2 - wall) * 1e6 / ($1 - 1), ($3 - cpu) * 1e6 / ($1 - 1), $4}'
  done
}

# Three panels side by side; every axis begins at zero, so that flat looks flat.
draw() {
  awk '
    function x(i, p) { return p * 240 + 40 + (NR > 1 ? (i - 1) * 160 / (NR - 1) : 80) }
    function y(v, p) { return 170 - 110 * v / top[p] }
    function short(n) { return n >= 1e6 ? n / 1e6 " M" : n >= 1e3 ? n / 1e3 " k" : n }
    { jobs[NR] = $1; for (p = 0; p < 3; p++) { v[p, NR] = $(p + 2); if ($(p + 2) > top[p]) top[p] = $(p + 2) } }
    END {
      split("wall time, µs a job|CPU time, µs a job|peak memory, MiB", title, "|")
      print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 216\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">"
      print "<title>The cost of a job over the number of jobs</title>"
      print "<style>text{fill:#57606a}.t{fill:#24292f;font-weight:600}.v{fill:#24292f}.a{stroke:#8c959f}.l{stroke:#0969da}.p{fill:#0969da}"
      print "@media(prefers-color-scheme:dark){text{fill:#9198a1}.t,.v{fill:#e6edf3}.a{stroke:#656c76}.l{stroke:#58a6ff}.p{fill:#58a6ff}}</style>"
      for (p = 0; p < 3; p++) {
        printf "<text class=\"t\" x=\"%d\" y=\"24\">%s</text>\n", p * 240 + 16, title[p + 1]
        printf "<path class=\"a\" d=\"M%d 170H%d\" fill=\"none\"/>\n<path class=\"l\" fill=\"none\" stroke-width=\"2\" d=\"", p * 240 + 16, p * 240 + 224
        for (i = 1; i <= NR; i++) printf "%s%.1f %.1f", (i > 1 ? "L" : "M"), x(i, p), y(v[p, i], p)
        print "\"/>"
        for (i = 1; i <= NR; i++) {
          printf "<circle class=\"p\" r=\"3.5\" cx=\"%.1f\" cy=\"%.1f\"/>", x(i, p), y(v[p, i], p)
          printf "<text class=\"v\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%.0f</text>", x(i, p), y(v[p, i], p) - 10, v[p, i]
          printf "<text text-anchor=\"middle\" x=\"%.1f\" y=\"188\">%s</text>\n", x(i, p), short(jobs[i])
        }
        printf "<text text-anchor=\"middle\" x=\"%d\" y=\"206\">jobs</text>\n", p * 240 + 120
      }
      print "</svg>"
    }'
}

dir=$(mktemp -d "$dir/vfetch-growth.XXXXXX")
chmod 755 "$dir" # nginx's workers have a user of their own
serve
for jobs in 1 $sizes; do seq "$((jobs * 10))" "$((jobs * 11 - 1))" >"$dir/$jobs.ids"; done
for ((round = 0; round < rounds; round++)); do
  for jobs in 1 $sizes; do run "$jobs"; done
done
medians >"$dir/medians"
echo "| jobs | wall µs a job | CPU µs a job | RSS MiB |"
echo "| --- | --- | --- | --- |"
awk '{printf "| %d | %.0f | %.0f | %.0f |\n", $1, $2, $3, $4}' "$dir/medians"
printf 'The first job alone: %.0f ms, of which %.0f ms CPU; %.0f MiB.\n' \
  "$(median 1 '$1 * 1000')" "$(median 1 '($2 + $3) * 1000')" "$(median 1 '$4 / 1024')"
draw <"$dir/medians" >"$svg"
