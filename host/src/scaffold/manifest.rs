//! What a member of the workspace inherits, written out: a manifest that stands alone.
//!
//! It works on lines, so that comments and order stay as people wrote them. The tests hold it to the manifests
//! that are compiled in.

/// A member inherits what the workspace does not have, or in a form that is not understood; which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workspace's Cargo.toml does not say what {0:?} means")]
pub struct NotInherited(String);

/// A member's manifest with the workspace's words in the place of every `workspace = true`.
///
/// # Errors
/// [`NotInherited`]
pub(super) fn standalone(member: &str, workspace: &str) -> Result<String, NotInherited> {
    let mut lines: Vec<String> = Vec::new();
    let mut section = "";
    for line in member.lines() {
        if let Some(name) = header(line) {
            section = name;
        }
        let not_inherited = || NotInherited(line.to_owned());
        match line.strip_suffix(".workspace = true") {
            Some(key) => lines.push(inherited(key, section, workspace).ok_or_else(not_inherited)?.to_owned()),
            // `[lints]` has nothing but this: the workspace's own headers take its place.
            None if section == "lints" => {
                if line.trim() == "workspace = true" {
                    lines.extend(sections(workspace, "workspace.lints.", "lints."));
                }
            }
            None if line.contains("workspace = true") => return Err(not_inherited()),
            None => lines.push(line.to_owned()),
        }
    }
    Ok(lines.join("\n").trim_end().to_owned() + "\n")
}

/// The workspace's line for a key of the member's section.
fn inherited<'a>(key: &str, section: &str, workspace: &'a str) -> Option<&'a str> {
    let from = match section {
        "package" => "workspace.package",
        section if section.ends_with("dependencies") => "workspace.dependencies",
        _ => return None,
    };
    body(workspace, from).find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")))
}

/// Every section of a manifest whose name begins so, header and all, under another beginning.
pub(super) fn sections(manifest: &str, beginning: &str, other: &str) -> Vec<String> {
    let names = manifest.lines().filter_map(header).filter_map(|name| name.strip_prefix(beginning));
    names
        .flat_map(|rest| {
            let section = format!("{beginning}{rest}");
            let mut lines = vec![format!("[{other}{rest}]")];
            lines.extend(body(manifest, &section).map(str::to_owned));
            lines
        })
        .collect()
}

/// The lines of one section, up to the next.
fn body<'a>(manifest: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let after = manifest.lines().skip_while(move |line| header(line) != Some(section)).skip(1);
    after.take_while(|line| header(line).is_none())
}

fn header(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "\
[workspace]
members = [
    \"a\",
]

[workspace.package]
edition = \"2024\"
rust-version = \"1.95\"

[workspace.dependencies]
a = { path = \"a\" } # ours
a-b = \"1\" # theirs

[workspace.lints.rust]
x = \"warn\"

[workspace.lints.clippy]
# why
y = \"deny\"

[profile.dev]
panic = \"unwind\"
";

    #[test]
    fn what_is_inherited_is_written_out_and_the_rest_stays() {
        let member = "[package]\nname = \"m\" # mine\nedition.workspace = true\n\n[dependencies]\na-b.workspace = true\na.workspace = true\n\n[lints]\nworkspace = true\n";
        let alone = "[package]\nname = \"m\" # mine\nedition = \"2024\"\n\n[dependencies]\na-b = \"1\" # theirs\na = { path = \"a\" } # ours\n\n[lints.rust]\nx = \"warn\"\n\n[lints.clippy]\n# why\ny = \"deny\"\n";
        assert_eq!(standalone(member, WORKSPACE).unwrap(), alone);
    }

    #[test]
    fn what_the_workspace_does_not_have_is_an_error() {
        for line in ["[package]\nlicense.workspace = true", "[dependencies]\nb = { workspace = true }"] {
            let said = standalone(line, WORKSPACE).unwrap_err().to_string();
            assert!(said.contains(line.lines().last().unwrap()), "{said}");
        }
    }
}
