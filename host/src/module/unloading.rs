//! Whether a module's library may be unmapped at all, decided from its file.
//!
//! What a library leaves behind in the process would point into nothing once it is gone. Thread-local keys and
//! threads can be watched (`tls_keys`); what is listed here cannot.

use object::read::elf::{Dyn as _, ElfFile64};
use object::{Object as _, ObjectSymbol as _, SymbolFlags, elf};
use plugin_api::manifest::UNLOADABLE;

/// Functions of the C library that keep the address of what they are given for the rest of the process's life, and
/// one that opens libraries nobody here knows of.
const KEEPERS: [&str; 7] =
    ["signal", "sigaction", "pthread_atfork", "atfork", "timer_create", "dlopen", "dlmopen"];

/// What a library's file says about staying.
#[derive(Debug, Default)]
struct UnloadHazards<'a> {
    /// The bits of its manifest.
    flags: u32,
    /// Marked so that the loader never lets it go (`DF_1_NODELETE`).
    nodelete: bool,
    /// A symbol that exists once in a process (`STB_GNU_UNIQUE`, as C++ makes them): its library stays for it.
    unique: Option<&'a str>,
    /// What it imports.
    imports: Vec<&'a str>,
}

/// Why a library stays mapped when its generation has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinReason {
    /// In words.
    pub text: String,
    /// Nothing of its code runs afterwards, so that its thread-local keys may be others'.
    pub gives_keys_back: bool,
}

/// Why the library of this file stays mapped when its generation has ended; `None` where it may go.
#[must_use]
pub(super) fn pin_reason(file: &object::File<'_>, flags: u32) -> Option<PinReason> {
    let mut hazards = UnloadHazards { flags, ..UnloadHazards::default() };
    if let object::File::Elf64(elf) = file {
        hazards.nodelete = is_nodelete(elf);
    }
    for symbol in file.dynamic_symbols() {
        let Ok(name) = symbol.name() else { continue };
        if symbol.is_undefined() {
            hazards.imports.push(name);
        } else if let SymbolFlags::Elf { st_info, .. } = symbol.flags()
            && st_info.st_bind() == elf::STB_GNU_UNIQUE
        {
            hazards.unique.get_or_insert(name);
        }
    }
    hazards.reason()
}

fn is_nodelete(file: &ElfFile64<'_>) -> bool {
    let endian = file.endian();
    let Ok(Some((entries, _))) = file.elf_section_table().dynamic(endian, file.data()) else { return false };
    entries.iter().any(|entry| {
        entry.d_tag(endian) == elf::DT_FLAGS_1 && entry.d_val(endian) & elf::DF_1_NODELETE.0 != 0
    })
}

impl UnloadHazards<'_> {
    fn reason(&self) -> Option<PinReason> {
        let for_good = |text: String| Some(PinReason { text, gives_keys_back: false });
        if self.flags & UNLOADABLE == 0 {
            return for_good("its manifest does not allow that it is unmapped".to_owned());
        }
        if let Some(symbol) = self.unique {
            return for_good(format!(
                "it defines {symbol}, of which a process has one for good (GNU_UNIQUE)"
            ));
        }
        if let Some(keeper) = self.imports.iter().find(|import| KEEPERS.contains(import)) {
            return for_good(format!(
                "it uses {keeper}, which may leave the address of its code with the process"
            ));
        }
        let text = "its file is marked never to be unmapped (NODELETE)".to_owned();
        self.nodelete.then_some(PinReason { text, gives_keys_back: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hazards: &UnloadHazards<'_>, expected: Option<&str>) {
        let reason = hazards.reason();
        assert_eq!(reason.is_some(), expected.is_some(), "{reason:?}");
        let Some(reason) = reason else { return };
        assert!(reason.text.contains(expected.unwrap_or_default()), "{reason:?}");
        assert_eq!(reason.gives_keys_back, expected == Some("NODELETE"), "{reason:?}");
    }

    #[test]
    fn each_sign_keeps_it() {
        let fine = || UnloadHazards {
            flags: UNLOADABLE,
            imports: vec!["malloc", "pthread_key_create"],
            ..UnloadHazards::default()
        };
        check(&fine(), None);
        check(&UnloadHazards { flags: 0, ..fine() }, Some("manifest"));
        check(&UnloadHazards { nodelete: true, ..fine() }, Some("NODELETE"));
        check(&UnloadHazards { unique: Some("_ZN1a"), ..fine() }, Some("_ZN1a"));
        for keeper in KEEPERS {
            check(&UnloadHazards { imports: vec!["malloc", keeper], ..fine() }, Some(keeper));
            let both = UnloadHazards { nodelete: true, imports: vec![keeper], ..fine() };
            check(&both, Some(keeper));
        }
    }
}
