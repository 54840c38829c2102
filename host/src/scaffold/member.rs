//! A new module inside this repository: its files, and its line among the members of the workspace.

use super::{HookName, SKEL};

/// How a member that is a bundled module is listed in the workspace's manifest.
const LISTED: &str = "    \"plugins/webhooks_";

/// Every file of a new member: its path in the module's folder, and its text. What the template has besides its manifest
/// and its code is for modules outside of the repository.
pub fn member_files(name: &HookName) -> Vec<(String, String)> {
    let belongs = |path: &str| path == "Cargo.toml" || path.starts_with("src/") || path.starts_with("tests/");
    let files = SKEL.iter().filter(|(path, _)| belongs(path));
    files.map(|(path, text)| ((*path).to_owned(), name.put_into(text))).collect()
}

/// The workspace's manifest with one more member, among the others in order; `None` where it lists no bundled modules.
#[must_use]
pub fn with_member(manifest: &str, name: &HookName) -> Option<String> {
    let line = format!("    \"plugins/{}\",", name.id());
    let mut lines: Vec<&str> = manifest.lines().collect();
    let first = lines.iter().position(|line| line.starts_with(LISTED))?;
    let listed = lines.iter().skip(first).take_while(|line| line.starts_with(LISTED));
    let before = listed.filter(|other| **other < line.as_str()).count();
    lines.insert(first + before, &line);
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaffold::ROOT_MANIFEST;

    #[test]
    fn a_member_is_listed_among_the_others_in_order() {
        let manifest = "members = [\n    \"host\",\n    \"plugins/webhooks_b\",\n    \"plugins/webhooks_d\",\n    \"tests\",\n]\n";
        for (name, expected) in [
            ("a", ["webhooks_a", "webhooks_b", "webhooks_d"]),
            ("c", ["webhooks_b", "webhooks_c", "webhooks_d"]),
            ("e", ["webhooks_b", "webhooks_d", "webhooks_e"]),
        ] {
            let with = with_member(manifest, &HookName::parse(name).unwrap()).unwrap();
            let listed: Vec<&str> = with.split('"').filter_map(|it| it.strip_prefix("plugins/")).collect();
            assert_eq!(listed, expected);
            assert_eq!(with.lines().count(), manifest.lines().count() + 1);
        }
    }

    #[test]
    fn this_repository_is_known_and_another_is_not() {
        let name = HookName::parse("door_bell").unwrap();
        assert!(with_member(ROOT_MANIFEST, &name).is_some());
        assert_eq!(with_member("[workspace]\nmembers = [\"a\"]\n", &name), None);
    }

    #[test]
    fn a_member_has_a_manifest_code_and_tests() {
        let files = member_files(&HookName::parse("door_bell").unwrap());
        let has = |path: &str| files.iter().any(|(own, _)| own == path);
        assert!(has("Cargo.toml") && has("src/lib.rs") && has("tests/hooks.json") && !has("README.md"));
        assert!(files.iter().all(|(_, text)| !text.contains("skel") && !text.contains("Skel")));
    }
}
