//! A new module against the files of the repository that it comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn written(name: &str) -> BTreeMap<String, String> {
    files(&HookName::parse(name).unwrap()).unwrap().into_iter().collect()
}

/// Every file below a folder, by its path in it.
fn read(folder: &Path, below: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "target" {
                read(folder, &path, found);
            }
        } else {
            let short = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            found.insert(short, std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn folder(name: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    read(&root().join(name), &root().join(name), &mut found);
    found
}

#[test]
fn a_new_module_is_the_template_under_another_name() {
    let new = written("doorbell");
    for (path, template) in folder("webhooks_skel") {
        let back = new[&path].replace("doorbell", "skel").replace("Doorbell", "Skel");
        match path.as_str() {
            // It is written out; the tests of the built program see that it means the same.
            "Cargo.toml" => {}
            "README.md" => {
                let (title, rest) = template.split_once("\n\n> ").unwrap();
                let (_, rest) = rest.split_once("\n\n").unwrap();
                assert_eq!(back, format!("{title}\n\n{rest}"), "{path}");
            }
            _ => assert_eq!(back, template, "{path}"),
        }
    }
}

#[test]
fn the_plugin_api_of_a_new_module_is_this_hosts() {
    let new = written("doorbell");
    for (path, text) in folder("plugin-api") {
        if path != "Cargo.toml" {
            assert_eq!(new[&format!("plugin-api/{path}")], text, "{path}");
        }
    }
}

#[test]
fn nothing_else_is_in_a_new_module() {
    let sources = folder("webhooks_skel").into_keys();
    let mut expected: Vec<String> =
        sources.chain(folder("plugin-api").into_keys().map(|path| format!("plugin-api/{path}"))).collect();
    let more =
        ["Cargo.lock", "clippy.toml", "rustfmt.toml", "plugin-api/LICENSE-APACHE", "plugin-api/LICENSE-MIT"];
    expected.extend(more.map(str::to_owned));
    expected.sort();
    assert_eq!(written("doorbell").into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_of_the_templates_name_is_left() {
    for (path, text) in written("door_bell") {
        if !path.starts_with("plugin-api/") {
            assert!(!text.to_lowercase().contains("skel"), "{path}");
        }
    }
}

#[test]
fn the_manifests_of_a_new_module_inherit_nothing_and_say_all_that_the_workspace_says() {
    let new = written("door_bell");
    for path in ["Cargo.toml", "plugin-api/Cargo.toml"] {
        let text = &new[path];
        assert!(!text.contains("workspace = true"), "{path}: {text}");
        for part in [
            "edition = \"",
            "rust-version = \"",
            "[lints.rust]\n",
            "[lints.clippy]\n",
            "unwrap_used = \"deny\"",
        ] {
            assert!(text.contains(part), "{path} has no {part}");
        }
    }
    let manifest = &new["Cargo.toml"];
    for part in [
        "name = \"webhooks_door_bell\"\n",
        "crate-type = [\"cdylib\", \"rlib\"]\n",
        "plugin-api = { path = \"plugin-api\", version = \"",
        "say `plugin-api = \"~1.1\"`",
        "\n[workspace]\n",
    ] {
        assert!(manifest.contains(part), "no {part} in {manifest}");
    }
    for profile in ["[profile.dev]\n", "[profile.release]\n"] {
        let (_, section) = manifest.split_once(profile).unwrap();
        let section = section.split("\n[").next().unwrap();
        assert!(section.contains("panic = \"unwind\""), "{profile}{section}");
        let is_small = section.contains("strip = \"debuginfo\"");
        assert_eq!(is_small, profile == "[profile.release]\n", "{profile}{section}");
    }
    assert!(new["plugin-api/Cargo.toml"].contains("abi_stable = { version = \"=0.11.3\""));
}

#[test]
fn what_a_new_module_is_built_with_is_what_the_host_was_built_with() {
    let lock = &written("doorbell")["Cargo.lock"];
    let blocks: Vec<&str> = lock.split("\n[[package]]\n").skip(1).collect();
    assert!(blocks.iter().any(|block| block.starts_with("name = \"webhooks_doorbell\"\n")));
    assert!(blocks.iter().any(|block| block.starts_with("name = \"abi_stable\"\n")));
    assert!(!lock.contains("name = \"tokio\""), "{lock}");
}
