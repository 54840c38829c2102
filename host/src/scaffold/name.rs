//! Which names a new module may have, and what is called after it.

use std::fmt;

use plugin_api::manifest::MAX_ID;

use super::sources::{ROOT_MANIFEST, SKEL};
use crate::hooks::validation::RETIRED;

const PREFIX: &str = "webhooks_";

/// The name of a hook event that a new module may answer: `door_bell`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookName(String);

/// Why a name is not taken. Each says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No name at all.
    #[error("the name is empty; give the name of the module's hook event, such as doorbell")]
    Empty,
    /// Letters that cannot stand in it.
    #[error(
        "{given:?} is no name for a module: it begins with a letter and has lower-case letters, digits and single underscores between them, such as {better}"
    )]
    Form {
        /// What was given.
        given: String,
        /// The nearest that would do.
        better: String,
    },
    /// Longer than a manifest holds.
    #[error(
        "{id} has {} bytes, and a module's id may have {MAX_ID}; shorten the name to {} letters",
        id.len(), MAX_ID - PREFIX.len()
    )]
    Long {
        /// The id that it would give.
        id: String,
    },
    /// Somebody else's.
    #[error("{name} cannot be the name of a new module: {why}; choose another, such as my_{name}")]
    Reserved {
        /// The hook event.
        name: String,
        /// Whose it is.
        why: String,
    },
}

impl HookName {
    /// Reads a name as people give it, with or without `webhooks_`.
    ///
    /// # Errors
    /// Says what is wrong with it and what would be right.
    pub fn parse(given: &str) -> Result<Self, BadName> {
        let name = given.strip_prefix(PREFIX).unwrap_or(given);
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if !is_well_formed(name) {
            let better = well_formed(name).unwrap_or_else(|| "doorbell".to_owned());
            return Err(BadName::Form { given: given.to_owned(), better });
        }
        let name = HookName(name.to_owned());
        if name.id().len() > MAX_ID {
            return Err(BadName::Long { id: name.id() });
        }
        match name.reserved() {
            Some(why) => Err(BadName::Reserved { name: name.0, why }),
            None => Ok(name),
        }
    }

    /// The module's id and its crate's name: `webhooks_door_bell`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// The name of the module's type: `DoorBell`.
    #[must_use]
    pub fn type_name(&self) -> String {
        let capitalised = |word: &str| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        };
        self.0.split('_').map(capitalised).collect()
    }

    /// A text of the template with this name in the place of the template's.
    #[must_use]
    pub fn put_into(&self, template: &str) -> String {
        template.replace("skel", &self.0).replace("Skel", &self.type_name())
    }

    fn reserved(&self) -> Option<String> {
        let type_name = self.type_name();
        if self.0 == "all" {
            Some("hooks for \"all\" are told of every event".to_owned())
        } else if RETIRED.contains(&self.0.as_str()) {
            Some("KAZOO has retired it, so no hook can ask for it".to_owned())
        } else if ROOT_MANIFEST.contains(&format!("\"plugins/{}\"", self.id())) {
            Some(format!("{} comes with the host, and ids are unique", self.id()))
        } else if names_in_code().any(|name| name == type_name) {
            Some(format!("the type {type_name} would hide a name that the module's code uses"))
        } else {
            None
        }
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_well_formed(name: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split('_').all(word)
}

/// The nearest name of the right form: `Door-Bell` becomes `door_bell`, and so does `DoorBell`.
fn well_formed(name: &str) -> Option<String> {
    let mut better = String::new();
    let mut after_small = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && after_small {
            better.push('_');
        }
        if c.is_ascii_alphanumeric() {
            better.push(c.to_ascii_lowercase());
        }
        after_small = c.is_ascii_lowercase();
    }
    let from_letter = better.trim_start_matches(|first: char| !first.is_ascii_lowercase());
    let words: Vec<&str> = from_letter.split('_').filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join("_"))
}

/// The words in the template's code: neither comments nor texts.
fn names_in_code() -> impl Iterator<Item = &'static str> {
    SKEL.iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .flat_map(|(_, text)| text.lines())
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').step_by(2))
        .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_with_or_without_its_prefix() {
        for (given, id, type_name) in [
            ("doorbell", "webhooks_doorbell", "Doorbell"),
            ("webhooks_doorbell", "webhooks_doorbell", "Doorbell"),
            ("door_bell_2", "webhooks_door_bell_2", "DoorBell2"),
            ("greeting", "webhooks_greeting", "Greeting"),
            ("account", "webhooks_account", "Account"),
        ] {
            let name = HookName::parse(given).unwrap();
            assert_eq!((name.id().as_str(), name.type_name().as_str()), (id, type_name));
        }
    }

    #[track_caller]
    fn refused(given: &str, parts: &[&str]) {
        let said = HookName::parse(given).unwrap_err().to_string();
        for part in parts {
            assert!(said.contains(part), "{given}: {part} is missing in {said}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_what_would_be_right() {
        refused("", &["is empty", "such as doorbell"]);
        refused("webhooks_", &["is empty"]);
        refused("Doorbell", &["\"Doorbell\" is no name", "such as doorbell"]);
        refused("door-bell", &["such as door_bell"]);
        refused("DoorBell", &["such as door_bell"]);
        refused("2fast", &["begins with a letter", "such as fast"]);
        refused("_door__bell_", &["single underscores", "such as door_bell"]);
        refused("türklingel", &["such as t_rklingel"]);
        refused("../x", &["such as x"]);
        refused("日本", &["such as doorbell"]);
        refused(&"x".repeat(56), &["has 65 bytes, and a module's id may have 64; shorten the name to 55"]);
    }

    #[test]
    fn a_name_of_55_letters_is_the_longest() {
        assert_eq!(HookName::parse(&"x".repeat(55)).unwrap().id().len(), 64);
    }

    #[test]
    fn a_name_that_is_taken_is_refused_with_another() {
        refused("all", &["told of every event", "such as my_all"]);
        refused("callflow", &["KAZOO has retired it", "my_callflow"]);
        refused("skel", &["no hook can ask for it"]);
        refused("webhooks_sms", &["webhooks_sms comes with the host", "my_sms"]);
        for name in ["event", "host", "json_writer", "self", "ok", "value"] {
            refused(name, &["would hide a name that the module's code uses"]);
            HookName::parse(&format!("my_{name}")).unwrap();
        }
    }
}
