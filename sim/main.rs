//! The harness: this project's own use of the public simulator.

#[cfg(not(madsim))]
compile_error!(
    "the sweeps need `--cfg madsim`, which .cargo/config.toml sets: run cargo inside the repository and unset \
     RUSTFLAGS (it replaces the file's flags), or add `--cfg madsim` to it"
);
