//! What a new module consists of: the template under a new name, and all that it needs to build anywhere.
//!
//! Everything comes from files of the repository that are compiled in as they stand; nothing here is a copy that
//! could fall behind. Writing the files is up to `cli::new`.

mod lock;
mod manifest;
mod member;
pub mod name;
mod sources;

use self::sources::{CLIPPY, LICENCES, PLUGIN_API, ROOT_LOCK, ROOT_MANIFEST, RUSTFMT, SKEL};
pub use manifest::NotInherited;
pub use member::{member_files, with_member};
pub use name::{BadName, HookName};

/// Every file of a new module: its path in the module's folder, and its text.
///
/// # Errors
/// The manifests that are compiled in cannot be written out; the tests see that they can.
pub fn files(name: &HookName) -> Result<Vec<(String, String)>, NotInherited> {
    let mut files = Vec::new();
    for (path, template) in SKEL {
        let text = match *path {
            "Cargo.toml" => module_manifest(template)?,
            "README.md" => without_notes(template),
            _ => (*template).to_owned(),
        };
        files.push(((*path).to_owned(), name.put_into(&text)));
    }
    files.push(("Cargo.lock".to_owned(), name.put_into(&lock::pruned(ROOT_LOCK, "webhooks_skel"))));
    files.push(("rustfmt.toml".to_owned(), RUSTFMT.to_owned()));
    files.push(("clippy.toml".to_owned(), clippy()));
    for (path, text) in PLUGIN_API {
        let text = if *path == "Cargo.toml" {
            manifest::standalone(text, ROOT_MANIFEST)?
        } else {
            (*text).to_owned()
        };
        files.push((format!("plugin-api/{path}"), text));
    }
    files.extend(LICENCES.map(|(path, text)| (format!("plugin-api/{path}"), text.to_owned())));
    Ok(files)
}

/// The template's manifest as one that stands alone: nothing inherited, a workspace of its own, the profiles.
fn module_manifest(template: &str) -> Result<String, NotInherited> {
    let (major, minor) = plugin_api::abi::VERSION;
    let alone = manifest::standalone(template, ROOT_MANIFEST)?;
    let of_host = format!(
        "\
# A copy of the plugin-api of the host that wrote this, in the folder plugin-api. To take a published one, remove
# that folder and say `plugin-api = \"~{major}.{minor}\"`: hosts refuse modules with a newer one than their own.
plugin-api = "
    );
    let mut text = format!("# Written by hookline {}, and yours to change.\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&alone.replace("plugin-api = ", &of_host));
    text.push_str(
        "\n# Of its own, so that it builds wherever it lies, below another workspace, too.\n[workspace]\n",
    );
    for profile in ["dev", "release"] {
        let section =
            manifest::sections(ROOT_MANIFEST, &format!("profile.{profile}"), &format!("profile.{profile}"));
        // Its own lines alone: those for single crates, and what is said of them, are the host's.
        let mut section = section.into_iter();
        let header = section.next();
        let settings = section.take_while(|line| !line.starts_with('[')).filter(|line| line.contains(" = "));
        let section: Vec<String> = header.into_iter().chain(settings).collect();
        text.push('\n');
        text.push_str(section.join("\n").trim_end());
        text.push('\n');
    }
    // Those of the release, which stands last.
    text.push_str("strip = \"debuginfo\" # functions keep their names; the module author's guide says how to keep lines\n");
    Ok(text)
}

/// Without the lines that speak of the template to its own readers.
fn without_notes(readme: &str) -> String {
    let lines = readme.lines().filter(|line| !line.starts_with("> "));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    text.replace("\n\n\n", "\n\n")
}

/// What the host's own tests may do, a module's may do, too; what the host must not do is no rule for modules.
fn clippy() -> String {
    let lines = CLIPPY.lines().filter(|line| line.starts_with("allow-"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests;
