//! Checkpoints in object stores as they are: a local directory, a real S3 server that dies and comes back, and whatever else is
//! named.
//!
//! | variable | meaning | default |
//! |--|--|--|
//! | `HIGHWATER_WEED` | the program `weed` of `SeaweedFS` | where `.ci/servers` installs it |
//! | `HIGHWATER_STORE` | the URL of one more store, whose other options come from the environment | none |
//! | `HIGHWATER_UNPLUG_SECONDS` | how long the server is away | 5 |
//! | `HIGHWATER_KEYS` | keys of the state that is restored, onto 1, 2 and 4 cores | 1,000,000 |
//!
//! What cannot run says `NOT RUN`, and why.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(
    clippy::disallowed_methods,
    reason = "it starts servers, watches the clock and removes directories"
)]
#![expect(clippy::print_stdout, reason = "its figures, and what did not run")]
#![expect(clippy::disallowed_types, reason = "a server's log is a file")]

mod bucket;
mod liar;
mod load;
mod outage;
mod place;
mod race;
mod replies;
mod restore;
mod weed;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};

use crate::place::Place;
use crate::weed::Weed;

/// A trial's name and what it does.
type Named<T> = (&'static str, T);

/// What needs no store but one that is made for it.
const OF_THE_BACKEND: [Named<fn()>; 11] = [
    ("the_contract_of_the_seam_holds_in_memory", bucket::the_contract_of_the_seam_holds_in_memory),
    ("an_upload_that_lost_a_part_is_gone", bucket::an_upload_that_lost_a_part_is_gone),
    ("a_bucket_is_told_what_is_wrong_with_its_url", bucket::a_bucket_is_told_what_is_wrong_with_its_url),
    (
        "the_thread_of_a_bucket_ends_with_its_last_clone",
        bucket::the_thread_of_a_bucket_ends_with_its_last_clone,
    ),
    ("what_is_not_known_to_be_undone_is_unknown", replies::what_is_not_known_to_be_undone_is_unknown),
    ("a_server_that_is_not_there_has_done_nothing", replies::a_server_that_is_not_there_has_done_nothing),
    ("only_a_read_tells_what_a_taken_name_means", replies::only_a_read_tells_what_a_taken_name_means),
    (
        "what_is_not_there_is_no_error_but_to_an_upload",
        replies::what_is_not_there_is_no_error_but_to_an_upload,
    ),
    ("a_server_that_says_nothing_is_not_waited_for", replies::a_server_that_says_nothing_is_not_waited_for),
    (
        "a_caller_that_gives_up_takes_its_request_along",
        replies::a_caller_that_gives_up_takes_its_request_along,
    ),
    ("a_store_that_lies_is_refused", liar::a_store_that_lies_is_refused),
];

/// What every store has to do.
const OF_EVERY_STORE: [Named<fn(&Place)>; 6] = [
    ("the_contract_of_the_seam_holds", bucket::the_contract_of_the_seam_holds),
    ("a_lost_machine_loses_nothing_that_was_remote", restore::a_lost_machine_loses_nothing_that_was_remote),
    ("a_large_state_comes_back_byte_for_byte", restore::a_large_state_comes_back_byte_for_byte),
    ("of_fifty_racers_one_lands_and_each_knows", race::of_fifty_racers_one_lands_and_each_knows),
    (
        "of_engines_that_open_at_once_one_owns_the_store",
        race::of_engines_that_open_at_once_one_owns_the_store,
    ),
    ("what_is_not_the_stores_fault_is_said", race::what_is_not_the_stores_fault_is_said),
];

/// What only a server can be put through that is ours to kill.
const OF_A_SERVER: [Named<fn(&mut Weed)>; 4] = [
    (
        "a_server_that_dies_in_the_middle_costs_nothing",
        outage::a_server_that_dies_in_the_middle_costs_nothing,
    ),
    ("machine_and_server_may_die_together", outage::machine_and_server_may_die_together),
    (
        "an_unplugged_store_stops_nobody_before_the_bound",
        outage::an_unplugged_store_stops_nobody_before_the_bound,
    ),
    ("a_silent_store_stops_nobody_before_the_bound", outage::a_silent_store_stops_nobody_before_the_bound),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = OF_THE_BACKEND
        .map(|(name, test)| {
            Trial::test(name, move || {
                test();
                Ok(())
            })
        })
        .into();
    let dir = tempfile::tempdir().unwrap();
    let local = Place { url: format!("file://{}", dir.path().display()), options: Vec::new() };
    trials.extend(of_every_store("directory", &local));
    match std::env::var("HIGHWATER_STORE") {
        Ok(url) => trials.extend(of_every_store("named", &Place { url, options: Vec::new() })),
        Err(_) => println!("NOT RUN: no further store: HIGHWATER_STORE names none"),
    }
    let wanted = !arguments.list && arguments.filter.as_ref().is_none_or(|filter| filter.starts_with("s3"));
    let server = wanted.then(weed::program);
    let server = match server {
        Some(Ok(program)) => Some(Weed::start(&program)),
        Some(Err(why)) => {
            println!("NOT RUN: S3: {why}");
            None
        }
        None => None,
    };
    // Held to the end: trials that a filter leaves out are dropped before the others run.
    let _held = server.map(|server| {
        trials.extend(of_every_store("s3", &server.place()));
        let server = Arc::new(Mutex::new(server));
        trials.extend(OF_A_SERVER.map(|(name, test)| {
            let server = Arc::clone(&server);
            Trial::test(format!("s3: {name}"), move || {
                test(&mut server.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(())
            })
        }));
        server
    });
    // One after the other: they share the server, and measure.
    let arguments = Arguments { test_threads: Some(1), ..arguments };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn of_every_store(store: &str, place: &Place) -> Vec<Trial> {
    let mut tests = OF_EVERY_STORE.to_vec();
    #[cfg(feature = "cli")]
    tests.extend::<[Named<fn(&Place)>; 3]>([
        (
            "a_fetched_copy_leaves_the_store_to_its_writer",
            restore::a_fetched_copy_leaves_the_store_to_its_writer,
        ),
        (
            "a_rotten_checkpoint_leaves_the_one_before_it",
            restore::a_rotten_checkpoint_leaves_the_one_before_it,
        ),
        ("a_copy_is_fetched_while_the_writer_goes_on", restore::a_copy_is_fetched_while_the_writer_goes_on),
    ]);
    let trial = |(name, test): Named<fn(&Place)>| {
        let place = place.clone();
        Trial::test(format!("{store}: {name}"), move || {
            test(&place.fresh());
            Ok(())
        })
    };
    tests.into_iter().map(trial).collect()
}
