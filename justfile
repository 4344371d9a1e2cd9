# One line each: what CONTRIBUTING.md and docs/simulator.md say in more words.

check:
    cargo fmt --all --check && cargo clippy --all-targets --all-features -- -D warnings

test:
    cargo test

sim *ARGS:
    cargo sim {{ARGS}}

replay SEED TEST="sweep_passes":
    HIGHWATER_SEED={{SEED}} cargo sim {{TEST}} --nocapture

seeds:
    cargo sim recorded_seeds_pass

mutants *NAMES:
    sim/mutants/run.sh {{NAMES}}

bench *ARGS:
    cargo bench {{ARGS}}

flights *ARGS:
    cargo run --release --example flights -- {{ARGS}}
