//! No step over what a client or a stranger sizes costs more than its length times a constant: instructions are counted
//! for inputs of one size and of four times that size. The table of steps is `tests/linear/main.rs`.

use std::path::Path;
use std::process::Command;

/// Parts of the smaller input. Large enough that what any input costs is a small part of it.
const PARTS: usize = 200;

/// Four times the input may cost so much more: four, and what maps and vectors spend while they grow.
const MOST: f64 = 5.5;

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_linear")
}

/// The instructions of each row, in the order of the table.
fn instructions(parts: usize, folder: &Path) -> Vec<f64> {
    let out = folder.join(format!("{parts}.out"));
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-before=linear::counted_from_here"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args([program(), &parts.to_string()])
        .output()
        .expect("valgrind, which scripts/test installs");
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    // Every second dump ends where a row's work ends.
    (1..)
        .map(|row| folder.join(format!("{parts}.out.{}", 2 * row)))
        .map_while(|dump| std::fs::read_to_string(dump).ok())
        .map(|dump| {
            let total = dump.lines().find_map(|line| line.strip_prefix("summary: "));
            total.and_then(|total| total.trim().parse().ok()).expect("a sum of instructions")
        })
        .collect()
}

#[test]
fn four_times_the_input_costs_about_four_times_as_much() {
    let folder = tempfile::tempdir().unwrap();
    let names = Command::new(program()).output().unwrap();
    let names = String::from_utf8(names.stdout).unwrap();

    let [small, large] = [PARTS, 4 * PARTS].map(|parts| instructions(parts, folder.path()));

    assert_eq!((small.len(), large.len()), (names.lines().count(), names.lines().count()));
    let costs: Vec<(&str, f64)> = names
        .lines()
        .zip(small.iter().zip(&large))
        .map(|(name, (small, large))| (name, large / small))
        .collect();
    let steep: Vec<_> = costs.iter().filter(|(_, cost)| *cost > MOST).collect();
    assert!(steep.is_empty(), "these cost more than {MOST} times as much: {steep:?}");
}
