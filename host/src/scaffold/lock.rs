//! Which of the workspace's locked packages a new module is built with: those that the template needs, in the
//! versions that this host was tested with.

use std::collections::{BTreeMap, BTreeSet};

/// The part of a `Cargo.lock` that one package needs, itself included. Cargo mends what is missing or too much.
#[must_use]
pub(super) fn pruned(lock: &str, package: &str) -> String {
    let mut blocks = lock.split("\n[[package]]\n");
    let head = blocks.next().unwrap_or_default();
    let blocks: Vec<&str> = blocks.collect();

    let mut needed = BTreeSet::new();
    let mut open = vec![package];
    while let Some(wanted) = open.pop() {
        for (at, block) in blocks.iter().enumerate().filter(|(_, block)| is_named(block, wanted)) {
            if needed.insert(at) {
                open.extend(dependencies(block));
            }
        }
    }

    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for at in &needed {
        *versions.entry(field(blocks[*at], "name")).or_default() += 1;
    }
    let mut pruned = head.to_owned();
    for at in needed {
        pruned.push_str("\n[[package]]\n");
        pruned.push_str(&with_short_names(blocks[at], &versions));
    }
    pruned.trim_end().to_owned() + "\n"
}

/// Whether a dependency's words, `name` or `name version`, mean this package.
fn is_named(block: &str, wanted: &str) -> bool {
    let mut words = wanted.split(' ');
    words.next() == Some(field(block, "name"))
        && words.next().is_none_or(|version| version == field(block, "version"))
}

fn field<'a>(block: &'a str, key: &str) -> &'a str {
    let value = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
    value.and_then(|value| value.strip_suffix('"')).unwrap_or_default()
}

fn dependencies(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","))
}

/// A version stands beside a name only where several are locked; fewer may be left.
fn with_short_names(block: &str, versions: &BTreeMap<&str, usize>) -> String {
    let short = |line: &str| match line.strip_prefix(" \"").and_then(|rest| rest.split_once(' ')) {
        Some((name, _)) if versions.get(name) == Some(&1) => format!(" \"{name}\",\n"),
        _ => format!("{line}\n"),
    };
    block.lines().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"version = 4

[[package]]
name = "a"
version = "1.0.0"
source = "r"

[[package]]
name = "a"
version = "2.0.0"
source = "r"
dependencies = [
 "b",
]

[[package]]
name = "b"
version = "1.0.0"
source = "r"

[[package]]
name = "c"
version = "1.0.0"
dependencies = [
 "a 1.0.0",
]

[[package]]
name = "m"
version = "1.0.0"
dependencies = [
 "a 2.0.0",
]
"#;

    #[test]
    fn only_what_is_needed_stays_and_names_get_as_short_as_they_can() {
        let pruned = pruned(LOCK, "m");
        assert_eq!(
            pruned,
            r#"version = 4

[[package]]
name = "a"
version = "2.0.0"
source = "r"
dependencies = [
 "b",
]

[[package]]
name = "b"
version = "1.0.0"
source = "r"

[[package]]
name = "m"
version = "1.0.0"
dependencies = [
 "a",
]
"#
        );
    }

    #[test]
    fn of_two_versions_both_stay_where_both_are_needed() {
        let both = LOCK.replace(" \"a 2.0.0\",\n", " \"a 2.0.0\",\n \"c\",\n");
        let pruned = pruned(&both, "m");
        assert!(pruned.contains("\"a 1.0.0\",") && pruned.contains("\"a 2.0.0\","), "{pruned}");
        assert_eq!(pruned.matches("[[package]]").count(), 5);
    }
}
