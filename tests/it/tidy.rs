//! The house rules that no compiler checks.

mod circles;
mod functions;

use std::path::{Path, PathBuf};

/// The only files that may contain `unsafe`.
const UNSAFE: [&str; 10] = [
    "plugin-api/src/export.rs",
    "plugin-api/src/guard.rs",
    "plugin-api/src/lend.rs",
    "host/src/module/tls_keys.rs",
    "host/src/module/library.rs",
    "host/src/main.rs",
    "tests/modules/older_minor/src/lib.rs",
    "tests/modules/no_module/src/lib.rs",
    "tests/modules/webhooks_misbehaving/src/crashes.rs",
    "tests/modules/webhooks_wrong_documents/src/lib.rs",
];

/// This file, which speaks of what it forbids.
const THIS: &str = "tests/it/tidy.rs";

/// Lines of code (neither comment nor blank) that a file may have.
const LONGEST: usize = 400;

/// Lines of code that nine of ten files of the host may have.
const MOST_FILES: usize = 270;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every file of the project that could be tracked: no build output, no hidden folders.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), &root(), ending, &mut found);
    assert!(!found.is_empty(), "no {ending} files were found");
    found
}

fn collect(root: &Path, folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // What `hookline new` wrote here is somebody's own.
            let own = folder == root && name.starts_with("webhooks_") && name != "webhooks_skel";
            if !own && name != "target" && name != "data" && !name.starts_with('.') {
                collect(root, &path, ending, found);
            }
        } else if name.ends_with(ending) {
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            found.push((shown, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[track_caller]
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

/// Words that would be found in this very file if they stood here in one piece.
fn word(start: &str, end: &str) -> String {
    format!("{start}{end}")
}

fn broken_by(ending: &str, breaks: impl Fn(&str, &str) -> bool) -> Vec<String> {
    files(ending).into_iter().filter(|(name, text)| breaks(name, text)).map(|(name, _)| name).collect()
}

#[test]
fn every_file_opens_with_a_sentence_about_what_is_decided_in_it() {
    none("files without //! at the top", broken_by(".rs", |_, text| !text.starts_with("//! ")));
}

#[test]
fn unsafe_code_stands_in_the_named_files_with_its_promise_above() {
    let word = word("uns", "afe");
    let code = |line: &str| !line.trim_start().starts_with("//") && line.contains(&format!("{word} "));
    let is_named = |name: &str| UNSAFE.contains(&name) || name == THIS;
    let uses = |text: &str| text.lines().any(|line| code(line) && !line.contains(&format!("\"{word}")));
    none(
        "files that are not named and have unsafe code",
        broken_by(".rs", |name, text| !is_named(name) && uses(text)),
    );
    for name in UNSAFE {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        let attributes = [format!("{word}(export_name"), format!("{word}(no_mangle)")];
        let only_attributes = !text.lines().any(|line| code(line) && line.contains(&format!("{word} {{")));
        let promised = text.contains("// SAFETY: ");
        assert!(
            promised || only_attributes && attributes.iter().any(|it| text.contains(it)),
            "{name} has no SAFETY paragraph"
        );
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_to_do() {
    let marks = [word("#[ign", "ore"), word("tod", "o!("), word("unimplem", "ented!(")];
    none(
        "files with a switched-off test or an unfinished part",
        broken_by(".rs", |_, text| marks.iter().any(|mark| text.contains(mark.as_str()))),
    );
}

#[test]
fn rooms_have_names_of_their_own() {
    let nameless = ["mod.rs", "util.rs", "utils.rs", "helpers.rs", "common.rs", "misc.rs"];
    none(
        "files without a name of their own",
        broken_by(".rs", |name, _| nameless.iter().any(|nameless| name.ends_with(&format!("/{nameless}")))),
    );
}

#[test]
fn no_file_is_longer_than_one_room() {
    none("files that are too long", broken_by(".rs", |_, text| code_lines(text) > LONGEST));
}

/// Lines that are neither blank nor a comment.
fn code_lines(text: &str) -> usize {
    text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//")).count()
}

#[test]
fn most_files_of_the_host_are_short() {
    let files = files(".rs").into_iter().filter(|(name, _)| name.starts_with("host/src/"));
    let mut sizes: Vec<(usize, String)> = files.map(|(name, text)| (code_lines(&text), name)).collect();
    sizes.sort();
    let long = sizes.split_off(sizes.len() * 9 / 10);
    let shown = || long.iter().map(|(lines, name)| format!("{lines} {name}")).collect::<Vec<_>>().join("\n");
    assert!(long[0].0 <= MOST_FILES, "a tenth of the files has more than {MOST_FILES} lines:\n{}", shown());
}

#[test]
fn log_lines_begin_in_lower_case_and_end_without_a_full_stop() {
    let macros = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
    let mut broken = Vec::new();
    for (name, text) in files(".rs").iter().filter(|(name, _)| name.starts_with("host/src")) {
        for line in text.lines().filter(|line| macros.iter().any(|it| line.trim_start().starts_with(it))) {
            let Some(message) = line.rsplit('"').nth(1) else { continue };
            let capital = message.starts_with(|first: char| first.is_uppercase());
            if capital || message.ends_with('.') {
                broken.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    none("log lines out of form", broken);
}

#[test]
fn tests_wait_for_facts_and_do_not_sleep() {
    let sleep = word("thread::sl", "eep");
    none("files that block a thread", broken_by(".rs", |_, text| text.contains(&sleep)));
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    let own = ["hookline = ", "plugin-api = "];
    let silent = dependencies.lines().filter(|line| {
        !line.is_empty() && !line.contains("# ") && !own.iter().any(|it| line.starts_with(it))
    });
    none("dependencies without a reason", silent.map(str::to_owned).collect());
}

#[test]
fn nothing_carries_a_path_of_somebodys_machine() {
    let paths = [word("/ro", "ot/"), word("/ho", "me/"), word("/wo", "rk/")];
    for ending in [".rs", ".md", ".toml", ".sql"] {
        none(
            "files with a path of a machine",
            broken_by(ending, |name, text| {
                !name.contains("fixtures") && paths.iter().any(|path| text.contains(path.as_str()))
            }),
        );
    }
}

/// Rooms of the host in their order, from the top floor down.
fn floors() -> Vec<String> {
    let list = std::fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    let rooms = list.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    rooms.map(str::to_owned).collect()
}

/// Imports of rooms that stand above, as `from, room, line`.
fn upward_imports(floors: &[String], room: &str, text: &str) -> Vec<String> {
    let floor_of = |room: &str| floors.iter().position(|other| other == room);
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut upward = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for named in code.split("crate::").skip(1) {
            let other: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if floor_of(&other) < floor_of(room) && floor_of(&other).is_some() {
                upward.push(format!("{room} imports {other}, which stands above it, in line {}", number + 1));
            }
        }
    }
    upward
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let floors = floors();
    let mut broken = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (file, text) in files(".rs") {
        let Some(inside) = file.strip_prefix("host/src/") else { continue };
        // Tests may bring what they like.
        if matches!(inside, "lib.rs" | "main.rs" | "fuzz.rs") || inside.contains("tests") {
            continue;
        }
        let room = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        if !floors.contains(&room) {
            broken.push(format!("{file}: its room is not in the list of host/src/lib.rs"));
        }
        broken.extend(upward_imports(&floors, &room, &text).iter().map(|said| format!("{file}: {said}")));
        seen.insert(room);
    }
    assert_eq!(seen.len(), floors.len(), "a room of the list has no file");
    none("a room uses only rooms below it (host/src/lib.rs)", broken);
}

#[test]
fn an_import_that_goes_up_is_named() {
    let floors = ["api", "store", "clock"].map(str::to_owned);
    let text = "#[cfg(test)]\nmod tests;\nuse crate::clock;\nuse crate::api::Api; // crate::api\n#[cfg(test)]\nmod tests {\nuse crate::api;\n}\n";
    assert_eq!(
        upward_imports(&floors, "store", text),
        ["store imports api, which stands above it, in line 4"]
    );
    assert_eq!(upward_imports(&floors, "api", text), Vec::<String>::new());
}
