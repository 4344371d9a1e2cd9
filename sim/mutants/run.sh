#!/usr/bin/env bash
# Planted bugs: does the harness find them, and how fast?
#
#   sim/mutants/run.sh                     all of them; writes docs/mutants.md
#   sim/mutants/run.sh ack-before-sync …   these only; prints the table
#
# A mutant is a patch of at most ten changed lines that a review could have let through; its head tells the story that
# the author would have told, and `Profiles:` names the profiles that may kill it, in the order in which they are tried:
#
#   log      crash fan-out of the log alone          (sim/fanout/log.rs)
#   engine   crash fan-out of the whole engine       (sim/fanout/engine.rs)
#   forward  sweeps of whole lives                   (sim/sweep.rs)
#   flips    every byte of a closed database damaged (sim/flips.rs)
#
# Each mutant is applied to a scratch copy under target/mutants, built, and run from RUNS different seed bases until the
# first failure. The untouched tree runs first: a harness that fails without a bug kills nothing.
# Exits with 1 when a patch does not apply, when the untouched tree fails, or when a mutant survives a base.
#
# RUNS (5), STATES (15000) and SEEDS (200) size it.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/mutants
tree=$work/tree
runs=${RUNS:-5} states=${STATES:-15000} seeds=${SEEDS:-200}
export CARGO_TARGET_DIR=$work/build RUST_BACKTRACE=0
unset HIGHWATER_SEED

# A copy of what git knows, as it is in the working tree.
copy() {
    rm -rf "$tree" && mkdir -p "$tree"
    (cd "$root" && git ls-files -z --cached --others --exclude-standard | tar c --null -T - --ignore-failed-read 2>/dev/null) | tar x -C "$tree"
}

# Builds the harness and prints the path of its binary.
build() {
    (cd "$tree" && cargo test --quiet --features sim --test sim --no-run --message-format=json 2>"$work/build.log") |
        grep -o '"executable":"[^"]*/sim-[^"]*"' | tail -1 | cut -d'"' -f4
}

# Runs profile $2 of binary $1 from base $3; fails when the profile does.
profile() {
    local tests
    case $2 in
        log) tests=fan_out_of_the_log_passes ;;
        engine) tests=fan_out_of_the_engine_passes ;;
        forward) tests=sweep_passes ;;
        flips) tests=no_damaged_byte_is_ever_believed ;;
    esac
    (cd "$tree" && HIGHWATER_SEED_BASE=$3 HIGHWATER_STATES=$states HIGHWATER_SEEDS=$seeds \
        timeout 600 "$1" "$tests" --nocapture) >"$work/run.log" 2>&1
}

# The middle one of the numbers on standard input.
median() { sort -n | awk '{ n[NR] = $1 } END { if (NR) print n[int((NR + 1) / 2)]; else print "–" }'; }

now_ms() { date +%s%3N; }

# Runs mutant $1, prints its row, fails when it survives.
mutant() {
    local patch=$root/sim/mutants/$1.patch profiles binary base began killer survived=0 seconds="" counts="" killers=""
    copy
    if ! (cd "$tree" && patch -p1 --silent --forward <"$patch"); then
        echo "| $1 | the patch does not apply | | | |"
        return 1
    fi
    profiles=$(sed -n 's/^Profiles: //p' "$patch")
    binary=$(build) || true
    if [ -z "$binary" ]; then
        echo "| $1 | the patched tree does not build | | | |"
        return 1
    fi
    for run in $(seq 1 "$runs"); do
        base=$((run * 0x100000))
        began=$(now_ms) killer=""
        for name in $profiles; do
            profile "$binary" "$name" "$base" && continue
            killer=$name
            break
        done
        if [ -z "$killer" ]; then
            survived=$((survived + 1))
            continue
        fi
        seconds+="$(($(now_ms) - began))"$'\n'
        killers+="$killer"$'\n'
        counts+="$(grep -oE 'after [0-9]+ seeds' "$work/run.log" | head -1 | grep -oE '[0-9]+' || true)"$'\n'
    done
    local killed=$((runs - survived))
    printf '| %s | %s | %s of %s | %s | %s |\n' "$1" "$(printf '%s' "$killers" | sort | uniq -c | sort -rn | awk '{ print $2 }' | paste -sd' ')" \
        "$killed" "$runs" "$(printf '%s' "$counts" | grep . | median || true)" \
        "$(printf '%s' "$seconds" | median | awk '{ printf "%.1f", $1 / 1000 }')"
    [ "$survived" -eq 0 ]
}

# The untouched tree, from every base.
untouched() {
    copy
    local binary
    binary=$(build)
    for run in $(seq 1 "$runs"); do
        for name in log engine forward flips; do
            if ! profile "$binary" "$name" $((run * 0x100000)); then
                echo "the untouched tree fails the profile $name from base $((run * 0x100000)):" >&2
                grep -m1 -A4 'panicked' "$work/run.log" >&2 || true
                return 1
            fi
        done
    done
}

main() {
    local names=("$@") failed=0 table=$work/table.md
    mkdir -p "$work"
    if [ ${#names[@]} -eq 0 ]; then
        names=($(cd "$root/sim/mutants" && ls -- *.patch | sed 's/\.patch$//'))
    fi
    [ -n "${SKIP_UNTOUCHED:-}" ] || untouched
    {
        echo "| planted bug | killed by | killed | median seeds | median seconds |"
        echo "|--|--|--|--|--|"
    } | tee "$table"
    for name in "${names[@]}"; do
        mutant "$name" | tee -a "$table" || failed=1
    done
    if [ $# -eq 0 ]; then
        {
            echo "# Planted bugs"
            echo
            echo "Written by \`sim/mutants/run.sh\`, which also says what the profiles are. Each bug is a patch in \`sim/mutants\`,"
            echo "run from $runs seed bases on $(nproc) processors until the first failure, at most $states crash states and $seeds seeds a"
            echo "profile. Seeds are those of the profile that killed it; \`flips\` has none."
            echo
            cat "$table"
        } >"$root/docs/mutants.md"
    fi
    return $failed
}

main "$@"
