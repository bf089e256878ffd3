#!/bin/sh
# Fuzzes every reader, or those named, for SECONDS each (60): `SECONDS_EACH=600 fuzz/run.sh cut parquet`.
# Needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler; the stable compiler does. Prints a table row a target;
# ends with 1 if an input was found, which then lies in fuzz/artifacts.
set -u
cd "$(dirname "$0")"
seconds=${SECONDS_EACH:-60}
[ $# -gt 0 ] || set -- cut weights config tokenizer tuned csv tsv jsonl parquet state study record keys http
bad=0
echo "| reader | inputs | inputs/s | corpus | found |"
echo "|---|--:|--:|--:|--:|"
for target; do
    mkdir -p "corpus/$target" target/grown/"$target"
    log=target/$target.log
    # What is found on the way stays out of the committed corpus.
    cargo fuzz run --sanitizer none "$target" target/grown/"$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1
    found=$?
    [ $found -eq 0 ] || bad=1
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log" | tail -1)
    size=$(ls target/grown/"$target" | wc -l)
    echo "| $target | ${runs:-?} | ${rate:-?} | $size | $([ $found -eq 0 ] && echo 0 || grep -m1 -oE 'panicked at .*|libFuzzer: timeout|libFuzzer: out-of-memory' "$log") |"
done
exit $bad
