#!/bin/sh
# `make quickstart`: learn two tasks on the bundled Debian data as cuts of one base, beside the
# head alone, and label some new lines with both.
set -eu
out=quickstart
mkdir -p "$out"

# 4,000 rows are learned in time.
head -n 4001 data/debian/train.tsv > "$out/train.tsv"

train() { # name method options
    name=$1 method=$2
    shift 2
    "$LINOCUT" train --base "$BASE" --train "$out/train.tsv" --dev data/debian/dev.tsv \
        --text text --label "$name" --method "$method" --out "$out/$name-$method.cut" --force "$@"
}

for task in section role; do
    printf '\n== %s, the head alone\n' "$task"
    train "$task" head
    printf '\n== %s, a mask of the base and the head\n' "$task"
    train "$task" mask --epochs 3
done

printf '\n== new lines, labelled by both cuts\n'
cat > "$out/new.txt" <<'LINES'
command line tool that converts pictures of maps to PDF
Python bindings for a fast key-value store
turn-based strategy game set in ancient Rome
development files for a library that reads sensor data
LINES
for task in section role; do
    printf '\n%s:\n' "$task"
    "$LINOCUT" predict "$out/$task-mask.cut" --base "$BASE" < "$out/new.txt" | paste - "$out/new.txt"
done

printf '\n== on disk\n'
ls -l "$BASE/model.safetensors" "$out"/*.cut | awk '{printf "%12d bytes  %s\n", $5, $NF}'

printf '\n== to try next\n'
printf '%s\n' \
    "$LINOCUT predict $out/section-mask.cut --base $BASE 'plots of maps and satellite pictures'" \
    "$LINOCUT inspect $out/section-mask.cut" \
    "$LINOCUT serve --base $BASE --cuts $out    # then open http://localhost:8080"
