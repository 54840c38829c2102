//! How what parses strangers' bytes is tried: on mutated examples of a corpus that is kept, for a given time.
//!
//! A target is a test `fuzz_…` in the room that it tries. `scripts/fuzz SECONDS` gives each more time than a test run
//! does. What a target fails on is written into its corpus, and so stays a test.

use std::path::PathBuf;
use std::time::Duration;

use mutatis::check::{Check, CheckError};
use mutatis::mutators;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// Names the seconds for each target.
const VARIABLE: &str = "HOOKLINE_FUZZ_SECONDS";

/// What a target gets in a test run.
const BRIEF: Duration = Duration::from_millis(300);

/// Mutations one upon the other, in the middle: more of them make noise of every example.
const DEPTH: usize = 24;

/// Tries `property` on every file of `host/fuzz/NAME` and on what mutations make of them. It answers why an input
/// shows a defect; a panic is one, too.
pub(crate) fn target(name: &str, property: impl Fn(&[u8]) -> Result<(), String>) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz")).join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let corpus: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let seconds = std::env::var(VARIABLE).ok().map(|text| text.parse().expect("a number of seconds"));
    let until = Instant::now() + seconds.map_or(BRIEF, Duration::from_secs_f64);
    let mut inputs = 0;
    while inputs == 0 || Instant::now() < until {
        let mut check = Check::new();
        check.seed(rand::random()).iters(corpus.len() * DEPTH).max_shrink_iters(2_000);
        match check.run_with(mutators::default::<Vec<u8>>(), corpus.iter().cloned(), |input| property(input))
        {
            Ok(()) => inputs += corpus.len() * (DEPTH + 1),
            Err(CheckError::Failed(failure)) => {
                let kept = folder.join(format!("found-{:.8}", hex(&failure.value)));
                std::fs::write(&kept, &failure.value).expect("a place for what was found");
                panic!("{}: {} (kept as {})", failure.value.escape_ascii(), failure.message, kept.display());
            }
            Err(other) => panic!("{name}: {other}"),
        }
    }
    println!("{name}: {inputs} inputs");
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails unless it holds, with a sentence.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
