# One line each: what CONTRIBUTING.md and docs/simulator.md say in more words.

check:
    cargo fmt --all --check && cargo clippy --all-targets --all-features -- -D warnings

test:
    cargo test

sim *ARGS:
    cargo sim {{ARGS}}

replay *ARGS:
    cargo sim replay {{ARGS}}

shrink *ARGS:
    cargo sim shrink {{ARGS}}

seeds:
    cargo sim seeds check

mutants *NAMES:
    cargo sim mutants {{NAMES}}

bench *ARGS:
    cargo bench {{ARGS}}

flights *ARGS:
    cargo run --release --example flights -- {{ARGS}}

compare *ARGS:
    cargo run --release --manifest-path benches/compare/Cargo.toml -- {{ARGS}}

power-cut *ARGS:
    cargo run --release --manifest-path tests/power_cut/Cargo.toml -- {{ARGS}}
